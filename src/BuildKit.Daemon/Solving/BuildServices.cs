using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Ops.Exec;
using BuildKit.Worker.Sessions;
using BuildKit.Worker.Sources.Images;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Solving;

/// <summary>The daemon's parts that builds use; one object for the daemon's life.</summary>
public sealed record BuildServices
{
    public required GraphSolver Solver { get; init; }

    public required IRefStore Refs { get; init; }

    public required ImageResolver Images { get; init; }

    /// <summary>What steps run with; containers of frontends and of clients run with the same.</summary>
    public required ExecEnvironment Exec { get; init; }

    /// <summary>Makes graphs of definitions.</summary>
    public required DefinitionLoader Definitions { get; init; }

    /// <summary>Cache mounts as layers.</summary>
    public required CacheMountTransfer CacheMountTransfer { get; init; }

    public required IClientSessions Sessions { get; init; }

    public required CacheTransfer Caches { get; init; }

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

    /// <summary>What frontends in images may do.</summary>
    public GatewaySettings Gateway { get; init; } = new();

    /// <summary>Where frontends' messages go.</summary>
    public required ILoggerFactory Logging { get; init; }
}

/// <summary>A worker as clients see it.</summary>
public sealed record WorkerDescription(
    string Id, IReadOnlyDictionary<string, string> Labels, IReadOnlyList<Platform> Platforms, IReadOnlyList<PruneOptions> GcPolicy);
