using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Ops.Exec;
using BuildKit.Worker.Sessions;
using BuildKit.Worker.Sources.Images;

namespace BuildKit.Daemon.Solving;

/// <summary>The daemon's parts that builds use; one object for the daemon's life.</summary>
public sealed record BuildServices
{
    public required GraphSolver Solver { get; init; }

    public required IRefStore Refs { get; init; }

    public required ImageResolver Images { get; init; }

    public required CacheMounts CacheMounts { get; init; }

    public required IClientSessions Sessions { get; init; }

    public required ICacheTransfer Caches { get; init; }

    /// <summary>Exporters by type.</summary>
    public required IReadOnlyDictionary<string, IExporterFactory> Exporters { get; init; }

    /// <summary>What this worker is, as clients are told.</summary>
    public required WorkerDescription Worker { get; init; }

    /// <summary>Platform of steps that name none.</summary>
    public Platform DefaultPlatform => Worker.Platforms[0];

    /// <summary>Place for temporary mounts.</summary>
    public required string TemporaryDirectory { get; init; }

    /// <summary>Entitlements the configuration allows.</summary>
    public IReadOnlyList<string> AllowedEntitlements { get; init; } = [];

    /// <summary>Whether the built-in Dockerfile frontend is enabled.</summary>
    public bool DockerfileFrontend { get; init; } = true;
}

/// <summary>A worker as clients see it.</summary>
public sealed record WorkerDescription(
    string Id, IReadOnlyDictionary<string, string> Labels, IReadOnlyList<Platform> Platforms, IReadOnlyList<PruneOptions> GcPolicy);

/// <summary>Import and export of build caches, as builds ask for them.</summary>
public interface ICacheTransfer
{
    /// <summary>An imported cache, resolved in the background and shown as a step of the build. A cache that cannot be
    /// had answers nothing; the build goes on.</summary>
    /// <exception cref="InvalidOperationException">The type is unknown, or an attribute is missing or malformed.</exception>
    ICacheManager OpenImport(string type, IReadOnlyDictionary<string, string> attributes, Job job);

    /// <summary>An export, checked before the build starts.</summary>
    ICacheExport OpenExport(string type, IReadOnlyDictionary<string, string> attributes, string sessionId);
}

/// <summary>A cache export of one build.</summary>
public interface ICacheExport
{
    /// <summary>Name of the progress vertex.</summary>
    string Name { get; }

    /// <summary>Type of the backend.</summary>
    string Type { get; }

    /// <summary>Failure is reported but does not fail the build.</summary>
    bool IgnoreError { get; }

    /// <summary>The records travel inside the image's config.</summary>
    bool IsInline { get; }

    /// <summary>Exports the results' records. The entries go into the solve's answer.</summary>
    Task<IReadOnlyDictionary<string, string>> ExportAsync(IReadOnlyList<CachedResult> results, IOperationContext context, CancellationToken cancellationToken);

    /// <summary>For an inline export: the records of one result whose image has these layers; null when there are none.</summary>
    Task<byte[]?> ExportInlineAsync(
        CachedResult result, IReadOnlyList<RemoteLayers> layers, IOperationContext context, CancellationToken cancellationToken);
}
