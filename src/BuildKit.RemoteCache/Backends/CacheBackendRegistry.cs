using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Backends.GitHubActions;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Backends.Local;
using BuildKit.RemoteCache.Backends.Registry;
using BuildKit.RemoteCache.Backends.S3;

namespace BuildKit.RemoteCache.Backends;

/// <summary>Makes the backend of an export.</summary>
public delegate Task<ICacheExportBackend> CacheExportFactory(
    IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken);

/// <summary>Makes the backend of an import.</summary>
public delegate Task<ICacheImportBackend> CacheImportFactory(
    IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken);

/// <summary>The cache backends of a daemon by type name. Filled at start; read concurrently afterwards.</summary>
public sealed class CacheBackendRegistry
{
    private readonly Dictionary<string, CacheExportFactory> _exports = new(StringComparer.Ordinal);
    private readonly Dictionary<string, CacheImportFactory> _imports = new(StringComparer.Ordinal);

    /// <summary>A registry with <c>registry</c>, <c>local</c>, <c>gha</c>, <c>s3</c>, <c>azblob</c> and <c>inline</c> (export only).</summary>
    public static CacheBackendRegistry WithBuiltIns()
    {
        var registry = new CacheBackendRegistry();
        registry.AddExport("registry", RegistryCache.CreateExportAsync);
        registry.AddImport("registry", RegistryCache.CreateImportAsync);
        registry.AddExport("local", LocalCache.CreateExportAsync);
        registry.AddImport("local", LocalCache.CreateImportAsync);
        var actions = new GitHubActionsCache();
        registry.AddExport("gha", actions.CreateExportAsync);
        registry.AddImport("gha", actions.CreateImportAsync);
        registry.AddExport("s3", S3Cache.CreateExportAsync);
        registry.AddImport("s3", S3Cache.CreateImportAsync);
        registry.AddExport("azblob", AzureBlobCache.CreateExportAsync);
        registry.AddImport("azblob", AzureBlobCache.CreateImportAsync);
        registry.AddExport("inline", (_, _, _) => Task.FromResult<ICacheExportBackend>(new InlineCacheExport()));
        return registry;
    }

    /// <summary>Adds an export type.</summary>
    public void AddExport(string type, CacheExportFactory factory) => _exports.Add(type, factory);

    /// <summary>Adds an import type.</summary>
    public void AddImport(string type, CacheImportFactory factory) => _imports.Add(type, factory);

    /// <summary>Makes an export; its configuration is checked here, before anything is built.</summary>
    /// <exception cref="RemoteCacheException">The type is unknown, or the configuration is wrong.</exception>
    public Task<ICacheExportBackend> ResolveExporterAsync(
        string type, IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken) =>
        _exports.TryGetValue(type, out var factory)
            ? ConfigureAsync($"{type} cache exporter", () => factory(attributes, context, cancellationToken), cancellationToken)
            : throw new RemoteCacheException($"unknown cache exporter: {GoSyntax.Quote(type)}");

    /// <summary>Makes an import. Errors go to the import's vertex and never fail a build.</summary>
    /// <exception cref="RemoteCacheException">The type is unknown, or the configuration is wrong.</exception>
    public Task<ICacheImportBackend> ResolveImporterAsync(
        string type, IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken) =>
        _imports.TryGetValue(type, out var factory)
            ? ConfigureAsync($"{type} cache importer", () => factory(attributes, context, cancellationToken), cancellationToken)
            : throw new RemoteCacheException($"unknown cache importer: {type}");

    private static async Task<T> ConfigureAsync<T>(string what, Func<Task<T>> make, CancellationToken cancellationToken)
    {
        try
        {
            return await make().ConfigureAwait(false);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RemoteCacheException($"failed to configure {what}: {e.Message}", e);
        }
    }
}
