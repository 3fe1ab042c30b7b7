using System.Text;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>Cases of kind <c>build</c>: a Dockerfile and a context for <c>buildctl build</c>.</summary>
internal static class HostileBuild
{
    internal static async Task<HostileOutcome> RunAsync(HostileFixture fixture, JsonElement hostile, TempDirectory temp, TimeSpan limit)
    {
        var context = temp.Sub("context");
        var dockerfile = temp.Sub("dockerfile");
        foreach (var entry in hostile.TryGetProperty("context", out var entries) ? entries.EnumerateArray() : default)
            Create(context, entry);
        if (hostile.TryGetProperty("dockerfile_symlink", out var symlink))
            File.CreateSymbolicLink(Path.Combine(dockerfile, "Dockerfile"), symlink.GetString()!);
        else
            await File.WriteAllBytesAsync(Path.Combine(dockerfile, "Dockerfile"), Bytes(hostile, "dockerfile", "dockerfile_gz_b64"));
        var output = Path.Combine(temp.Path, "out");
        List<string> arguments =
        [
            "build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", "context=" + context, "--local", "dockerfile=" + dockerfile,
            .. hostile.TryGetProperty("args", out var args) ? args.EnumerateArray().Select(a => a.GetString()!.Replace("{{context}}", context, StringComparison.Ordinal)) : [],
            .. hostile.GetProperty("output").GetString() == "local" ? ["--output", "type=local,dest=" + output] : Array.Empty<string>(),
        ];
        await using var build = fixture.Client.Start(arguments);
        if (hostile.TryGetProperty("kill_client_after_s", out var kill))
        {
            await Task.Delay(TimeSpan.FromSeconds(kill.GetDouble()));
            return new HostileOutcome("killed", build.Output, output);
        }
        var exitCode = await build.EndAsync(limit);
        return new HostileOutcome(exitCode == 0 ? "ok" : "error", build.Output, output);
    }

    private static byte[] Bytes(JsonElement element, string plain, string packed)
    {
        if (element.TryGetProperty(plain, out var text))
            return Encoding.UTF8.GetBytes(text.GetString()!);
        return element.TryGetProperty(packed, out var gz) ? HostileFixture.Unpack(gz) : [];
    }

    private static void Create(string root, JsonElement entry)
    {
        using var dir = LinuxFile.OpenDirectory(root);
        if (!entry.TryGetProperty("path", out var text))
        {
            // A name that is no text; a shell can write it.
            var raw = entry.GetProperty("path_b64").GetBytesFromBase64();
            var octal = string.Concat(raw.Select(b => "\\" + Convert.ToString(b, 8).PadLeft(3, '0')));
            using var shell = Programs.Start("bash", ["-c", $"file=\"$0/\"$'{octal}'; mkdir -p \"${{file%/*}}\"; printf %s \"$1\" > \"$file\"", root, entry.TryGetProperty("data", out var d) ? d.GetString()! : ""]);
            shell.WaitForExit();
            Assert.Equal(0, shell.ExitCode);
            return;
        }
        var path = text.GetString()!;
        if (Path.GetDirectoryName(path) is { Length: > 0 } parent)
            Directory.CreateDirectory(Path.Combine(root, parent));
        if (entry.TryGetProperty("symlink", out var target))
            LinuxFile.Symlink(target.GetString()!, dir, path);
        else if (entry.TryGetProperty("fifo", out _))
            LinuxFile.Mknod(dir, path, UnixMode.Fifo | 0x1A4, 0, 0);
        else if (entry.TryGetProperty("generate_files", out var count))
        {
            Directory.CreateDirectory(Path.Combine(root, path));
            for (var i = 0; i < count.GetInt32(); i++)
                File.Create(Path.Combine(root, path, i.ToString("D5", System.Globalization.CultureInfo.InvariantCulture))).Dispose();
        }
        else
        {
            var isBusybox = entry.TryGetProperty("busybox", out _);
            File.WriteAllBytes(Path.Combine(root, path), isBusybox ? File.ReadAllBytes("/bin/busybox") : Bytes(entry, "data", "data_gz_b64"));
            LinuxFile.Chmod(dir, path, isBusybox ? 0x1EDu : entry.TryGetProperty("mode", out var mode) ? mode.GetUInt32() : 0x1A4u);
        }
    }
}

