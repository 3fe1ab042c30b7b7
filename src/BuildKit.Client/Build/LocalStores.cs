using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Session.Content;

namespace BuildKit.Client;

/// <summary>
/// The directories of a build that hold blobs: local caches, OCI layouts and a layout being exported. They are served
/// over the session; their <c>index.json</c> is read before and written after the build here (spec 04 §8.3, 07 §6).
/// </summary>
internal sealed class LocalStores
{
    private const string Latest = "latest";
    private readonly Dictionary<string, string> _stores = new(StringComparer.Ordinal);
    private readonly List<(int Index, string Directory, string Tag, CacheRequest Export)> _cacheExports = [];
    private LocalCacheJoin? _join;
    private Action<string>? _warn;
    private string _layoutDirectory = "";

    private LocalStores()
    {
    }

    /// <summary>Directory by store name.</summary>
    public IReadOnlyDictionary<string, string> Stores => _stores;

    /// <summary>Cache imports as the daemon gets them: digests resolved, unusable ones left out.</summary>
    public IReadOnlyList<CacheRequest> CacheImports { get; private set; } = [];

    /// <summary>Checks and opens every directory.</summary>
    /// <exception cref="ClientException">An attribute is missing, or a local cache lacks the tag.</exception>
    public static async Task<LocalStores> OpenAsync(SolveOptions options, CancellationToken cancellationToken)
    {
        var stores = new LocalStores { _join = options.JoinLocalCache, _warn = options.Warn };
        foreach (var (index, cache) in options.CacheExports.Index())
            stores.AddCacheExport(index, cache);
        var imports = new List<CacheRequest>(options.CacheImports.Count);
        foreach (var cache in options.CacheImports)
        {
            if (await stores.AddCacheImportAsync(cache, options.Warn, cancellationToken) is { } usable)
                imports.Add(usable);
        }
        stores.CacheImports = imports;
        foreach (var (name, directory) in options.OciLayouts)
        {
            if (!stores._stores.TryAdd(ContentStores.Oci(name), directory))
                throw new ClientException($"oci store key \"{name}\" already exists");
        }
        foreach (var export in options.Exports)
        {
            if (export.LayoutDirectory.Length == 0)
                continue;
            if (!stores._stores.TryAdd(ContentStores.Export, export.LayoutDirectory))
                throw new ClientException("only one output with tar=false is possible in a build");
            Directory.CreateDirectory(export.LayoutDirectory);
            stores._layoutDirectory = export.LayoutDirectory;
        }
        return stores;
    }

    /// <summary>Enters what the build made into the directories' <c>index.json</c>.</summary>
    public async Task FinishAsync(IReadOnlyDictionary<string, string> response, CancellationToken cancellationToken)
    {
        foreach (var (index, directory, tag, export) in _cacheExports)
        {
            if (ManifestOf(index, response) is not { } manifest)
                continue;
            var descriptor = Descriptor.Parse(System.Text.Encoding.UTF8.GetBytes(manifest));
            var layout = new OciLayout(directory);
            if (!layout.HasBlob(descriptor.Digest))
            {
                _warn?.Invoke($"the cache in {directory} is as it was before: the daemon told of another export only; with this daemon a build can write one local cache");
                continue;
            }
            if (_join is { } join)
                await layout.ChangeTagAsync(tag, async current => await join(layout, current, descriptor, export.Attributes, cancellationToken), cancellationToken);
            else
                await layout.AddToIndexAsync(descriptor, [], tag, cancellationToken);
        }
        if (_layoutDirectory.Length > 0 && response.TryGetValue("containerimage.descriptor", out var encoded))
        {
            var names = response.GetValueOrDefault("image.name", "").Split(',', StringSplitOptions.RemoveEmptyEntries);
            var references = new List<ImageReference>(names.Length);
            foreach (var name in names)
                references.Add(ImageReference.ParseWithDefaultTag(name));
            await new OciLayout(_layoutDirectory).AddToIndexAsync(Descriptor.Parse(Convert.FromBase64String(encoded)), references, Latest, cancellationToken);
        }
    }

    /// <summary>The manifest of an export: daemons that know of several name each one's; others tell one for all.</summary>
    private static string? ManifestOf(int index, IReadOnlyDictionary<string, string> response) =>
        response.Keys.Any(key => key.StartsWith(ContentStores.CacheManifestKey + ".", StringComparison.Ordinal))
            ? response.GetValueOrDefault(ContentStores.CacheManifestKeyOf(index))
            : response.GetValueOrDefault(ContentStores.CacheManifestKey);

    private void AddCacheExport(int index, CacheRequest cache)
    {
        if (cache.Type == "local")
        {
            var directory = cache.Attributes.GetValueOrDefault("dest", "");
            if (directory.Length == 0)
                throw new ClientException("local cache exporter requires dest");
            LinuxFile.MkdirAll(Path.GetFullPath(directory), 0x1ED);
            _stores[ContentStores.Local(directory)] = directory;
            _cacheExports.Add((index, directory, cache.Attributes.GetValueOrDefault("tag", Latest), cache));
        }
        else if (cache.Type == "registry" && cache.Attributes.GetValueOrDefault("ref", "").Length == 0)
        {
            throw new ClientException("registry cache exporter requires ref");
        }
    }

    private async Task<CacheRequest?> AddCacheImportAsync(CacheRequest cache, Action<string>? warn, CancellationToken cancellationToken)
    {
        if (cache.Type == "registry" && cache.Attributes.GetValueOrDefault("ref", "").Length == 0)
            throw new ClientException("registry cache importer requires ref");
        if (cache.Type != "local")
            return cache;
        var directory = cache.Attributes.GetValueOrDefault("src", "");
        if (directory.Length == 0)
            throw new ClientException("local cache importer requires src");
        var attributes = new Dictionary<string, string>(cache.Attributes, StringComparer.Ordinal);
        if (cache.Attributes.GetValueOrDefault("digest", "").Length == 0)
        {
            var tag = cache.Attributes.GetValueOrDefault("tag", Latest);
            ImageIndex index;
            try
            {
                index = await ReadIndexAsync(directory, cancellationToken);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or FormatException)
            {
                warn?.Invoke($"local cache import at {directory} not found due to err: {failure.Message}");
                return null;
            }
            var found = index.FindTag(tag)
                ?? throw new ClientException("local cache importer requires either explicit digest, \"latest\" tag or custom tag on index.json");
            attributes["digest"] = found.Digest.ToString();
        }
        _stores[ContentStores.Local(directory)] = directory;
        return cache with { Attributes = attributes };
    }

    /// <summary>Reads the index of a directory; what cannot be read is told in the reference's words.</summary>
    private static async Task<ImageIndex> ReadIndexAsync(string directory, CancellationToken cancellationToken)
    {
        var path = $"{directory}/index.json";
        if (!Directory.Exists(directory))
            throw new IOException($"could not lock {path}.lock: open {path}.lock: no such file or directory");
        if (!File.Exists(path))
            throw new IOException($"could not read {path}: open {path}: no such file or directory");
        try
        {
            return await new OciLayout(directory).ReadIndexAsync(cancellationToken);
        }
        catch (FormatException failure)
        {
            throw new FormatException($"could not unmarshal {path} ({GoSyntax.Quote(await File.ReadAllTextAsync(path, cancellationToken))}): {failure.Message}", failure);
        }
    }
}
