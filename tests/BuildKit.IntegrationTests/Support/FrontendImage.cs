using System.Formats.Tar;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace BuildKit.IntegrationTests.Support;

/// <summary>An image of our Dockerfile frontend: the daemon program under test with all it needs to run, managed or
/// native, found with ldd.</summary>
public static class FrontendImage
{
    private const string Labels = """
        "moby.buildkit.frontend.network.none":"true","moby.buildkit.frontend.caps":"moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"
        """;

    /// <summary>Pushes the image as <c>HOST/frontend:latest</c>; its name.</summary>
    public static async Task<string> PushAsync(DockerRegistry registry)
    {
        var files = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var program = new FileInfo(Programs.Buildkitd).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? Programs.Buildkitd;
        var isManaged = File.Exists(Path.ChangeExtension(program, ".dll"));
        if (isManaged)
        {
            AddDirectory(Path.GetDirectoryName(program)!, "/app");
            // The runtime that runs this test runs the program, too.
            var runtime = RuntimeEnvironment.GetRuntimeDirectory().TrimEnd('/');
            var version = Path.GetFileName(runtime);
            var root = Path.GetFullPath(Path.Combine(runtime, "../../.."));
            foreach (var part in new[] { $"shared/Microsoft.NETCore.App/{version}", $"shared/Microsoft.AspNetCore.App/{version}", $"host/fxr/{version}" })
                AddDirectory(Path.Combine(root, part), "/dotnet/" + part);
        }
        else
        {
            files["/app/buildkitd"] = program;
        }
        foreach (var library in await LibrariesAsync([.. files.Values.Where(f => f == program || f.EndsWith(".so", StringComparison.Ordinal))]))
            files.TryAdd(library, library);
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.Directory, "tmp") { Mode = (UnixFileMode)0x3FF });
            foreach (var (path, source) in files)
            {
                await using var content = File.OpenRead(source);
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, path.TrimStart('/')) { Mode = (UnixFileMode)0x1ED, DataStream = content });
            }
        }
        var environment = isManaged ? "\"PATH=/bin\",\"DOTNET_ROOT=/dotnet\",\"DOTNET_EnableDiagnostics=0\",\"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1\"" : "\"PATH=/bin\"";
        await PushAsync(registry, "frontend:latest", tar.ToArray(), $$"""{"Env":[{{environment}}],"Entrypoint":["/app/buildkitd","dockerfile-frontend"],"Labels":{ {{Labels}} } }""");
        return $"{registry.Host}/frontend:latest";

        void AddDirectory(string from, string to)
        {
            foreach (var file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories).Where(f => !f.EndsWith(".pdb", StringComparison.Ordinal)))
                files[to + "/" + Path.GetRelativePath(from, file)] = file;
        }
    }

    /// <summary>Pushes an image with one layer and the given container configuration.</summary>
    public static Task PushAsync(DockerRegistry registry, string name, byte[] tar, string containerConfig)
    {
        using (JsonDocument.Parse(containerConfig))
        {
        }
        return BaseImage.PushAsync(registry, name, tar, configJson:
            "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":" + containerConfig + ",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"@BASE@\"]}}");
    }

    private static async Task<IReadOnlyCollection<string>> LibrariesAsync(IReadOnlyList<string> binaries)
    {
        var libraries = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var binary in binaries)
        {
            // Lines are "NAME => PATH (ADDRESS)", the loader's "PATH (ADDRESS)".
            foreach (var line in (await Programs.RunAsync("ldd", [binary])).Text.Split('\n'))
            {
                var path = line.Contains("=> ", StringComparison.Ordinal) ? line.Split("=> ")[1] : line.Trim();
                path = path.Split(' ')[0];
                if (path.StartsWith('/') && File.Exists(path) && !binaries.Contains(path))
                    libraries.Add(path);
            }
        }
        // Loaded by name when TLS is wanted.
        foreach (var directory in new[] { "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu" }.Where(Directory.Exists))
            libraries.UnionWith(Directory.GetFiles(directory, "libssl.so.*").Concat(Directory.GetFiles(directory, "libcrypto.so.*")));
        return libraries;
    }
}
