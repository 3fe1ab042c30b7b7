using BuildKit.Oci;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>What steps run with; the same for all steps of a worker.</summary>
public sealed record ExecEnvironment
{
    /// <summary>Records.</summary>
    public required IRefStore Refs { get; init; }

    /// <summary>Runs containers.</summary>
    public required IExecutor Executor { get; init; }

    /// <summary>Directories of cache mounts.</summary>
    public required CacheMounts CacheMounts { get; init; }

    /// <summary>Secrets and agents of clients.</summary>
    public required IStepSessions Sessions { get; init; }

    /// <summary>Place for secrets' tmpfs mounts.</summary>
    public required string TemporaryDirectory { get; init; }

    /// <summary>The daemon runs in a user namespace.</summary>
    public bool UserNamespace { get; init; }

    /// <summary>Limits of step output.</summary>
    public StepLogLimits LogLimits { get; init; } = StepLogLimits.Default;

    /// <summary>Clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Runs programs of foreign CPUs.</summary>
    public Emulation Emulation { get; init; } = new(new HashSet<Platform>());
}
