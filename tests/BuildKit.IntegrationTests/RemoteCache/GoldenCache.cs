using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Config;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>One cache the reference exported, as <c>golden/cache/index.json</c> lists it.</summary>
/// <param name="Path">Folder below <c>golden/cache</c>, for example <c>v0.20.0/local-max</c>.</param>
/// <param name="Version">Version of the reference.</param>
/// <param name="Dockerfile">Name of the Dockerfile in the shared context.</param>
public sealed record GoldenCache(string Path, string Version, string Dockerfile)
{
    private const string Set = "cache";

    /// <summary>Full path of the folder.</summary>
    public string Folder => Golden.Path(Set, Path);

    /// <summary>Whether it is a directory for <c>type=local</c>; else it was read from a registry.</summary>
    public bool IsLocal => Directory.Exists(LayoutFolder);

    /// <summary>The recorded directory of a local cache.</summary>
    public string LayoutFolder => System.IO.Path.Combine(Folder, "dir");

    /// <summary>Whether it was made for two platforms.</summary>
    public bool IsMultiPlatform => Path.EndsWith("-multi", StringComparison.Ordinal);

    /// <summary>Whether it travels inside an image.</summary>
    public bool IsInline => System.IO.Path.GetFileName(Path).StartsWith("inline", StringComparison.Ordinal);

    /// <summary>Every recorded cache that can be imported, or all of one version; none when the folder has no such set.</summary>
    public static IEnumerable<GoldenCache> All(string? version = null)
    {
        var index = Golden.Path(Set, "index.json");
        if (!File.Exists(index))
            return [];
        using var json = JsonDocument.Parse(File.ReadAllBytes(index));
        return [.. json.RootElement.GetProperty("entries").EnumerateArray()
            .Select(e => new GoldenCache(
                e.GetProperty("path").GetString()!, e.GetProperty("buildkit").GetString()!, e.GetProperty("dockerfile").GetString()!))
            .Where(e => (version is null || e.Version == version) && (e.IsLocal || File.Exists(System.IO.Path.Combine(e.Folder, "manifest.json"))))];
    }

    /// <summary>Cases of a theory; one that stands for "none recorded" when there are none, which xunit counts as an error.</summary>
    public static TheoryData<string> Cases(IEnumerable<GoldenCache> caches)
    {
        var paths = caches.Select(c => c.Path).ToList();
        return paths.Count > 0 ? [.. paths] : [""];
    }

    /// <summary>One entry by its path; null for "none recorded".</summary>
    public static GoldenCache? Of(string path) => path.Length == 0 ? null : All().Single(e => e.Path == path);

    /// <summary>A copy of the context the caches were made of, with the modes the index names.</summary>
    public static ContextDirectory Context(string dockerfile)
    {
        var context = new ContextDirectory();
        CopyTree(Golden.Path(Set, "context"), context.Path);
        foreach (var entry in Directory.EnumerateFileSystemEntries(context.Path, "*", SearchOption.AllDirectories))
            LinuxFile.Chmod(entry, Directory.Exists(entry) || System.IO.Path.GetFileName(entry) == "w" ? 0x1EDu : 0x1A4u);
        if (dockerfile != "Dockerfile")
            File.Copy(context[dockerfile], context["Dockerfile"], overwrite: true);
        return context;
    }

    /// <summary>Options of every build of this entry's Dockerfile.</summary>
    public string[] BuildOptions => IsMultiPlatform ? ["--opt", "platform=linux/amd64,linux/arm64"] : [];

    /// <summary>Makes the cache importable and returns the value of <c>--import-cache</c>.</summary>
    /// <param name="registry">Where caches of registries are put, byte for byte as they were served.</param>
    /// <param name="temp">Where local ones are copied to: a client makes files of its own in the directory.</param>
    public async Task<string> ServeAsync(DockerRegistry registry, TempDirectory temp)
    {
        if (IsLocal)
        {
            var copy = temp.Sub("cache");
            CopyTree(LayoutFolder, copy);
            var tag = RootOf(copy).Annotations["org.opencontainers.image.ref.name"];
            return $"type=local,src={copy},tag={tag}";
        }
        var reference = $"{registry.Host}/golden/{Path.Replace("v0.", "v0-", StringComparison.Ordinal).Replace(".", "-", StringComparison.Ordinal)}:{Version}";
        using var client = new RegistryClient(new RegistryConfig());
        var pusher = client.Open(ImageReference.Parse(reference), RegistryAccess.Push, StaticRegistryCredentials.Anonymous).Pusher!;
        List<(Descriptor Descriptor, byte[] Bytes)> manifests = [];
        foreach (var file in Directory.EnumerateFiles(System.IO.Path.Combine(Folder, "blobs")))
        {
            var bytes = await File.ReadAllBytesAsync(file);
            var blob = Descriptor.Of("application/octet-stream", bytes);
            await pusher.PushBlobAsync(blob, _ => ValueTask.FromResult<Stream>(new MemoryStream(bytes, writable: false)), null, default);
            if (MediaTypeOf(bytes) is { } type)
                manifests.Add((blob with { MediaType = type }, bytes));
        }
        foreach (var (descriptor, bytes) in manifests)
            await pusher.PushManifestAsync(descriptor, bytes);
        var root = ReadRoot();
        await pusher.PushManifestAsync(Descriptor.Of(MediaTypeOf(root)!, root), root, Version);
        return $"type=registry,ref={reference}";
    }

    /// <summary>The records and layers of the cache; of an image with several platforms, of the first one.</summary>
    public CacheConfig ReadConfig()
    {
        if (IsLocal)
            return ReadLayout(LayoutFolder).Config;
        return ReadManifest(ReadRoot(), digest => File.ReadAllBytes(System.IO.Path.Combine(Folder, "blobs", "sha256-" + digest.Hex))).Config;
    }

    /// <summary>The manifest or index that an import of this cache reads first.</summary>
    public byte[] ReadRoot() => IsLocal ? ReadRoot(LayoutFolder) : File.ReadAllBytes(System.IO.Path.Combine(Folder, "manifest.json"));

    /// <summary>The manifest or index that the first entry of a cache directory's index names.</summary>
    public static byte[] ReadRoot(string directory) => ReadBlob(directory, RootOf(directory).Digest);

    /// <summary>What the first entry of a cache directory's index leads to.</summary>
    public static (CacheConfig Config, IReadOnlyList<Descriptor> Layers, byte[] ConfigJson) ReadLayout(string directory) =>
        ReadManifest(ReadRoot(directory), digest => ReadBlob(directory, digest));

    private static Descriptor RootOf(string directory) => ImageIndex.Parse(File.ReadAllBytes(System.IO.Path.Combine(directory, "index.json"))).Manifests[0];

    private static byte[] ReadBlob(string directory, Digest digest) => File.ReadAllBytes(System.IO.Path.Combine(directory, "blobs", "sha256", digest.Hex));

    /// <summary>The cache a manifest leads to: its own, or the inline one of the (first) image.</summary>
    public static (CacheConfig Config, IReadOnlyList<Descriptor> Layers, byte[] ConfigJson) ReadManifest(byte[] json, Func<Digest, byte[]> blob)
    {
        using var document = JsonDocument.Parse(json);
        if (!document.RootElement.TryGetProperty("manifests", out _))
        {
            var image = Manifest.Parse(json);
            var config = blob(image.Config.Digest);
            if (image.Config.MediaType == MediaTypes.CacheConfig)
                return (CacheConfig.Parse(config), image.Layers, config);
            var inline = InlineCache.ReadFromImage(image.Layers, config, null)
                ?? throw new InvalidOperationException("the image has no inline cache");
            return (inline.Config, inline.Layers, CacheConfig.RecordsToJson(inline.Config.Records));
        }
        var entries = ImageIndex.Parse(json).Manifests;
        if (entries.LastOrDefault(e => e.MediaType == MediaTypes.CacheConfig) is { } own)
        {
            var config = blob(own.Digest);
            return (CacheConfig.Parse(config), [.. entries.Where(e => e.MediaType != MediaTypes.CacheConfig)], config);
        }
        return ReadManifest(blob(entries[0].Digest), blob);
    }

    /// <summary>Copies files and directories; links stay links.</summary>
    public static void CopyTree(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var entry in new DirectoryInfo(from).EnumerateFileSystemInfos())
        {
            var target = System.IO.Path.Combine(to, entry.Name);
            if (entry.LinkTarget is { } link)
                File.CreateSymbolicLink(target, link);
            else if (entry is DirectoryInfo)
                CopyTree(entry.FullName, target);
            else
                File.Copy(entry.FullName, target);
        }
    }

    private static string? MediaTypeOf(byte[] bytes)
    {
        if (bytes.Length == 0 || bytes[0] != (byte)'{')
            return null;
        using var json = JsonDocument.Parse(bytes);
        return json.RootElement.TryGetProperty("mediaType", out var type) ? type.GetString() : null;
    }
}
