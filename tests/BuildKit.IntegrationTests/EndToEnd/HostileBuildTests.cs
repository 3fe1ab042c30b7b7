using System.Collections.Concurrent;
using System.IO.Compression;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>The builds of the golden set <c>hostile</c>: whatever the input, nothing escapes and the daemon goes on working.</summary>
public sealed partial class HostileBuildTests(HostileFixture fixture) : IClassFixture<HostileFixture>
{
    public static TheoryData<string> Builds() => Cases("build");

    private static TheoryData<string> Cases(string kind)
    {
        using var index = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("hostile", "index.json")));
        var cases = new TheoryData<string>();
        foreach (var c in index.RootElement.GetProperty("cases").EnumerateArray())
        {
            var file = c.GetProperty("file").GetString()!;
            if (c.GetProperty("kind").GetString() == kind && File.Exists(Golden.Path("hostile", file)))
                cases.Add(file[..^".json".Length]);
        }
        return cases;
    }

    [EndToEndTheory]
    [MemberData(nameof(Builds))]
    public async Task Nothing_escapes(string name)
    {
        using var json = JsonDocument.Parse(await File.ReadAllBytesAsync(Golden.Path("hostile", name + ".json")));
        var hostile = json.RootElement;
        var expect = hostile.GetProperty("expect");
        await fixture.PrepareAsync(hostile.TryGetProperty("fresh_state", out var fresh) && fresh.GetBoolean());
        fixture.Serve(hostile.TryGetProperty("registry", out var routes) ? routes : null);
        using var temp = new TempDirectory();
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
        var mountsBefore = fixture.Daemon.MountsBelowRoot();
        var limits = hostile.GetProperty("limits");
        var limit = TimeSpan.FromSeconds(limits.GetProperty("seconds").GetDouble());
        var isKilled = hostile.TryGetProperty("kill_client_after_s", out var kill);
        string text;
        int exitCode;
        await using (var build = fixture.Client.Start(arguments))
        {
            if (isKilled)
            {
                await Task.Delay(TimeSpan.FromSeconds(kill.GetDouble()));
                exitCode = -1;
            }
            else
                exitCode = await build.EndAsync(limit);
            text = build.Output;
        }

        Assert.True(fixture.Daemon.IsRunning, fixture.Daemon.Log);
        var result = expect.GetProperty("result").GetString();
        if (result is "ok" or "error")
            Assert.True(exitCode == 0 == (result == "ok"), $"expected {result}, ended with {exitCode}\n{Short(text)}");
        if (exitCode > 0 && expect.TryGetProperty("error_regex", out var regex))
            Assert.Matches(new Regex(regex.GetString()!, RegexOptions.None, TimeSpan.FromSeconds(5)), text);
        if (expect.TryGetProperty("log_absent", out var absent))
            Assert.DoesNotContain(absent.GetString()!, text, StringComparison.Ordinal);
        if (expect.TryGetProperty("client_output_max_bytes", out var most))
            Assert.InRange(Encoding.UTF8.GetByteCount(text), 0, most.GetInt64());
        if (expect.TryGetProperty("cached_steps_min", out var cached) && exitCode == 0)
            Assert.InRange(text.Split('\n').Count(line => line.EndsWith(" CACHED", StringComparison.Ordinal)), cached.GetInt32(), int.MaxValue);
        if (exitCode == 0)
        {
            foreach (var member in new[] { "output_has", "output_if_ok" })
            {
                foreach (var file in expect.TryGetProperty(member, out var files) ? files.EnumerateObject() : default)
                    Assert.Equal(file.Value.GetString(), await File.ReadAllTextAsync(Path.Combine(output, file.Name)));
            }
            if (expect.TryGetProperty("output_count_min", out var count))
                Assert.InRange(Directory.GetFileSystemEntries(output, "*", SearchOption.AllDirectories).Length, count.GetInt32(), int.MaxValue);
        }
        Assert.DoesNotContain(HostileFixture.Token, text, StringComparison.Ordinal);
        if (Directory.Exists(output))
        {
            var leak = await Programs.RunAsync("grep", ["-rlF", "--devices=skip", HostileFixture.Token, output]);
            Assert.True(leak.ExitCode == 1, $"leaked: {leak.Text}");
        }
        fixture.AssertCanaryUntouched();
        if (!expect.TryGetProperty("canary_hits", out var hits) || hits.GetString() != "any")
            Assert.Empty(fixture.CanaryRequests);
        Assert.InRange(fixture.PeakMebibytes(), 0, limits.GetProperty("memory_mb").GetInt64());
        await fixture.AssertWorksAsync();
        await AssertNoMoreMountsAsync(mountsBefore);
    }

    private async Task AssertNoMoreMountsAsync(IReadOnlyList<string> before)
    {
        var mounts = fixture.Daemon.MountsBelowRoot();
        for (var i = 0; i < 60 && mounts.Count > before.Count; i++)
        {
            await Task.Delay(100);
            mounts = fixture.Daemon.MountsBelowRoot();
        }
        Assert.True(mounts.Count <= before.Count, string.Join('\n', mounts));
    }

    private static string Short(string text) => text.Length < 6000 ? text : text[..3000] + "\n…\n" + text[^3000..];

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

/// <summary>A daemon, the scripted registry, and the canaries: a directory and a server nothing may touch.</summary>
public sealed class HostileFixture : IAsyncLifetime
{
    internal const string Token = "HOSTILE-SECRET-TOKEN";
    private const string Canary = "/tmp/hostile-canary";
    private readonly ConcurrentQueue<string> _canaryRequests = new();
    private JsonElement? _routes;
    private WebApplication? _registry;
    private WebApplication? _canary;
    private int _probes;

    public DaemonProcess Daemon { get; private set; } = null!;

    public Buildctl Client { get; private set; } = null!;

    /// <summary>What asked the canary server in this case.</summary>
    public IReadOnlyCollection<string> CanaryRequests => _canaryRequests;

    /// <summary>Sets what the registry answers.</summary>
    public void Serve(JsonElement? routes) => _routes = routes?.Clone();

    /// <summary>A daemon that runs, with an empty state when the case needs it.</summary>
    public async Task PrepareAsync(bool isFresh)
    {
        _canaryRequests.Clear();
        if (isFresh || !Daemon.IsRunning)
        {
            await Daemon.DisposeAsync();
            await StartDaemonAsync();
        }
    }

    /// <summary>The most memory the daemon ever had.</summary>
    public long PeakMebibytes() => long.Parse(
        File.ReadLines($"/proc/{Daemon.Id}/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1],
        System.Globalization.CultureInfo.InvariantCulture) / 1024;

    /// <summary>Small builds still work.</summary>
    public async Task AssertWorksAsync()
    {
        using var context = new ContextDirectory($"FROM scratch\nCOPY <<EOF /probe-{_probes++}\nx\nEOF\n");
        (await Client.BuildAsync(context)).Succeeded();
    }

    /// <summary>Names, modes and contents of the canary directory are as they were.</summary>
    public void AssertCanaryUntouched()
    {
        Assert.Equal(["secret", "victim", "victim-dir", "victim-dir/inner"], Directory.GetFileSystemEntries(Canary, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(Canary, f)).Order(StringComparer.Ordinal));
        Assert.Equal("untouched\n", File.ReadAllText(Canary + "/victim"));
        Assert.Equal("untouched\n", File.ReadAllText(Canary + "/victim-dir/inner"));
        Assert.Equal(Token + "\n", File.ReadAllText(Canary + "/secret"));
        Assert.Equal((UnixFileMode)0x1A4, File.GetUnixFileMode(Canary + "/victim"));
        Assert.Equal((UnixFileMode)0x1ED, File.GetUnixFileMode(Canary + "/victim-dir"));
    }

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(BuildFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        if (Directory.Exists(Canary))
            LinuxDirectory.RemoveTree(Canary);
        Directory.CreateDirectory(Canary + "/victim-dir");
        await File.WriteAllTextAsync(Canary + "/victim", "untouched\n");
        await File.WriteAllTextAsync(Canary + "/victim-dir/inner", "untouched\n");
        await File.WriteAllTextAsync(Canary + "/secret", Token + "\n");
        foreach (var file in new[] { "victim", "secret", "victim-dir/inner" })
            File.SetUnixFileMode($"{Canary}/{file}", (UnixFileMode)0x1A4);
        File.SetUnixFileMode(Canary + "/victim-dir", (UnixFileMode)0x1ED);
        _registry = await ListenAsync(new IPEndPoint(IPAddress.Loopback, 29990), AnswerAsync);
        _canary = await ListenAsync(new IPEndPoint(IPAddress.Parse("127.0.0.2"), 29999), async context =>
        {
            _canaryRequests.Enqueue($"{context.Request.Method} {context.Request.Path}");
            await context.Response.WriteAsync(Token);
        });
        await StartDaemonAsync();
    }

    public async Task DisposeAsync()
    {
        if (Daemon is not null)
            await Daemon.DisposeAsync();
        if (_registry is not null)
            await _registry.DisposeAsync();
        if (_canary is not null)
            await _canary.DisposeAsync();
        if (Directory.Exists(Canary))
            LinuxDirectory.RemoveTree(Canary);
    }

    internal static byte[] Unpack(JsonElement packed)
    {
        using var gzip = new GZipStream(new MemoryStream(packed.GetBytesFromBase64()), CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        gzip.CopyTo(bytes);
        return bytes.ToArray();
    }

    private async Task StartDaemonAsync()
    {
        Daemon = await DaemonProcess.StartAsync(configuration: "[registry.\"127.0.0.1:29990\"]\n  http = true\n");
        Client = new Buildctl(Daemon.Address);
    }

    private static async Task<WebApplication> ListenAsync(IPEndPoint address, RequestDelegate answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Listen(address));
        var server = builder.Build();
        server.Run(answer);
        await server.StartAsync();
        return server;
    }

    private async Task AnswerAsync(HttpContext context)
    {
        var path = context.Request.Path.Value!;
        var route = _routes?.EnumerateArray().Where(r => r.GetProperty("path").GetString() is var p && (p == path || p == "*")).Cast<JsonElement?>().FirstOrDefault();
        var response = context.Response;
        if (route is not { } r)
        {
            response.StatusCode = 404;
            await response.WriteAsync("{}");
            return;
        }
        response.StatusCode = r.GetProperty("status").GetInt32();
        foreach (var header in r.TryGetProperty("headers", out var headers) ? headers.EnumerateObject() : default)
            response.Headers[header.Name] = header.Value.GetString();
        for (var i = 0; r.TryGetProperty("header_flood", out var flood) && i < flood.GetInt32(); i++)
            response.Headers[$"X-Flood-{i}"] = i.ToString(System.Globalization.CultureInfo.InvariantCulture);
        var body = r.TryGetProperty("body", out var text) ? Encoding.UTF8.GetBytes(text.GetString()!) : r.TryGetProperty("body_gz_b64", out var gz) ? Unpack(gz) : [];
        var repeat = r.TryGetProperty("repeat", out var times) ? times.GetInt64() : 0;
        if (repeat == 0)
            response.ContentLength = body.Length + (r.TryGetProperty("content_length_add", out var add) ? add.GetInt64() : 0);
        if (HttpMethods.IsHead(context.Request.Method))
            return;
        try
        {
            if (r.TryGetProperty("byte_delay_ms", out var delay))
            {
                foreach (var b in body)
                {
                    await response.Body.WriteAsync(new[] { b });
                    await response.Body.FlushAsync();
                    await Task.Delay(delay.GetInt32(), context.RequestAborted);
                }
            }
            else
            {
                for (long i = 0; i < Math.Max(1, repeat); i++)
                    await response.Body.WriteAsync(body, context.RequestAborted);
            }
            await response.Body.FlushAsync();
            if (response.ContentLength > body.Length)
                context.Abort();
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // The daemon had enough.
        }
    }
}
