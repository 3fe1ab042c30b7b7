using System.Formats.Tar;
using System.IO.Compression;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A small base image of a static busybox, pushed to a registry of the test.</summary>
public static class BaseImage
{
    private static readonly string[] Applets =
    [
        "sh", "cat", "echo", "ls", "id", "pwd", "env", "sleep", "dd", "true", "false", "test", "mkdir", "rm", "cp", "mv", "ln", "touch", "stat",
        "find", "grep", "sed", "wc", "head", "tail", "mount", "df", "chmod", "chown", "sha256sum", "date", "sort", "nc", "wget", "ip", "tr", "od", "hostname", "kill", "seq", "printf", "basename", "uname",
    ];

    private const string Passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
    private const string Group = "root:x:0:\nstaff:x:1001:\nextra:x:1002:app\n";

    /// <summary>Pushes the image as <c>HOST/base:latest</c>, and the digest of its layer's blob.</summary>
    public static async Task<Digest> PushAsync(DockerRegistry registry, string name = "base:latest", IRegistryCredentials? credentials = null) =>
        await PushAsync(registry, name, await TarAsync(), credentials);

    /// <summary>The image's only layer.</summary>
    public static async Task<byte[]> TarAsync()
    {
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var directory in new[] { "bin", "etc", "tmp", "root", "home", "home/app" })
                await writer.WriteEntryAsync(Entry(TarEntryType.Directory, directory, directory == "tmp" ? (UnixFileMode)0x3FF : (UnixFileMode)0x1ED));
            foreach (var (path, bytes) in new[] { ("bin/busybox", await File.ReadAllBytesAsync("/bin/busybox")), ("etc/passwd", System.Text.Encoding.ASCII.GetBytes(Passwd)), ("etc/group", System.Text.Encoding.ASCII.GetBytes(Group)) })
            {
                var file = Entry(TarEntryType.RegularFile, path, path == "bin/busybox" ? (UnixFileMode)0x1ED : (UnixFileMode)0x1A4);
                file.DataStream = new MemoryStream(bytes);
                await writer.WriteEntryAsync(file);
            }
            foreach (var applet in Applets)
            {
                var link = Entry(TarEntryType.SymbolicLink, "bin/" + applet, (UnixFileMode)0x1FF);
                link.LinkName = "busybox";
                await writer.WriteEntryAsync(link);
            }
        }
        return tar.ToArray();

        static PaxTarEntry Entry(TarEntryType type, string name, UnixFileMode mode) => new(type, name) { Mode = mode, ModificationTime = DateTimeOffset.FromUnixTimeSeconds(1_200_000_000) };
    }

    /// <summary>Pushes an image of one layer, given as a tar; with <paramref name="foreignUrl"/> the layer is not pushed, it is said to
    /// lie there; with <paramref name="zstd"/> that is the layer's blob, else it is gzip.</summary>
    public static async Task<Digest> PushAsync(
        DockerRegistry registry, string name, byte[] tar, IRegistryCredentials? credentials = null, string? configJson = null, string? foreignUrl = null, byte[]? zstd = null)
    {
        var source = new MemoryBlobSource();
        using var compressed = new MemoryStream();
        await using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest, leaveOpen: true))
            await gzip.WriteAsync(tar);
        var layer = zstd is null ? source.Add(MediaTypes.OciLayerGzip, compressed.ToArray()) : source.Add(MediaTypes.OciLayerZstd, zstd);
        if (foreignUrl is not null)
            layer = layer with { MediaType = MediaTypes.OciNondistributableLayer + "+gzip", Urls = [foreignUrl] };
        var diffId = Digest.Sha256(tar);
        configJson = (configJson ?? """{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["@BASE@"]}}""")
            .Replace("@BASE@", diffId.ToString(), StringComparison.Ordinal);
        using (JsonDocument.Parse(configJson))
        {
        }
        var config = source.Add(MediaTypes.OciConfig, System.Text.Encoding.UTF8.GetBytes(configJson));
        var manifest = source.Add(MediaTypes.OciManifest, new Manifest(MediaTypes.OciManifest, config, [layer]).ToJson());
        using var client = new RegistryClient(new RegistryConfig());
        credentials ??= new StaticRegistryCredentials(_ => new RegistryCredential(DockerRegistry.User, DockerRegistry.Password), "test");
        await client.Open(ImageReference.Parse($"{registry.Host}/{name}"), RegistryAccess.Push, credentials).Pusher!.PushImageAsync(manifest, source);
        return layer.Digest;
    }
}
