using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Executor;

/// <summary>Runs processes in containers made for one step each.</summary>
public interface IExecutor
{
    /// <summary>
    /// Runs one process in a fresh container and returns when it has ended and everything made for it is gone.
    /// </summary>
    /// <exception cref="ExitException">The process (or the runtime in its place) ended with a code that is not valid.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; the container was killed first.</exception>
    Task RunAsync(ContainerRequest request, CancellationToken cancellationToken);

    /// <summary>Runs another process in a container started by <see cref="RunAsync"/>, waiting for that one's first
    /// process to run. It ends with the container.</summary>
    /// <param name="containerId">The container.</param>
    /// <param name="process">What runs. User, environment and directory are the first process' where none are given.</param>
    /// <param name="started">Called once the process has been started.</param>
    /// <param name="cancellationToken">Kills the process.</param>
    /// <exception cref="ExitException">The process ended with a code that is not valid.</exception>
    /// <exception cref="InvalidOperationException">The container is not there, or not any more.</exception>
    Task ExecAsync(string containerId, ContainerProcess process, Action? started, CancellationToken cancellationToken);
}

/// <summary>A container to run.</summary>
public sealed record ContainerRequest
{
    /// <summary>Container id, unique among running ones.</summary>
    public required string Id { get; init; }

    /// <summary>The root file system.</summary>
    public required IMountable Root { get; init; }

    /// <summary>The process may not write to the root.</summary>
    public bool ReadOnlyRoot { get; init; }

    /// <summary>What else is mounted, in any order.</summary>
    public IReadOnlyList<ContainerMount> Mounts { get; init; } = [];

    /// <summary>What runs.</summary>
    public required ContainerProcess Process { get; init; }

    /// <summary>Name inside the container; empty means <c>buildkitsandbox</c>.</summary>
    public string Hostname { get; init; } = "";

    /// <summary>Lines added to <c>/etc/hosts</c>.</summary>
    public IReadOnlyList<ExtraHost> ExtraHosts { get; init; } = [];

    /// <summary>Network of the container.</summary>
    public NetworkMode Network { get; init; }

    /// <summary>Privileges of the container.</summary>
    public SecurityMode Security { get; init; }

    /// <summary>Parent of the container's cgroup; empty for the daemon's default.</summary>
    public string CgroupParent { get; init; } = "";

    /// <summary>Resource limits; none means those of the daemon.</summary>
    public IReadOnlyList<Ulimit> Ulimits { get; init; } = [];

    /// <summary>Remove mount point stubs together with the directories made for them.</summary>
    public bool RemoveMountStubsRecursive { get; init; }

    /// <summary>Called once the container's process has been started.</summary>
    public Action? Started { get; init; }
}

/// <summary>A process in a container.</summary>
public sealed record ContainerProcess
{
    /// <summary>Program and arguments.</summary>
    public required IReadOnlyList<string> Args { get; init; }

    /// <summary>Environment as <c>NAME=value</c>, complete and in order; later duplicates win.</summary>
    public IReadOnlyList<string> Env { get; init; } = [];

    /// <summary>Working directory; made when missing.</summary>
    public string Cwd { get; init; } = "/";

    /// <summary>User and group as a Dockerfile names them (spec 06 §6.4).</summary>
    public string User { get; init; } = "";

    /// <summary>Exit codes that are success; empty means only 0.</summary>
    public IReadOnlyList<int> ValidExitCodes { get; init; } = [];

    /// <summary>Give the process a terminal: what it prints is standard output, and its input is typed.</summary>
    public bool Tty { get; init; }

    /// <summary>Sizes of the terminal, as they change.</summary>
    public IAsyncEnumerable<TerminalSize>? Sizes { get; init; }

    /// <summary>Standard input; null is /dev/null.</summary>
    public Stream? Stdin { get; init; }

    /// <summary>Takes standard output, in the order written; called from one thread at a time.</summary>
    public required Action<ReadOnlyMemory<byte>> Stdout { get; init; }

    /// <summary>Takes standard error.</summary>
    public required Action<ReadOnlyMemory<byte>> Stderr { get; init; }

    /// <summary>Signals for the process, by number, as long as it runs.</summary>
    public IAsyncEnumerable<int>? Signals { get; init; }
}

/// <summary>Size of a terminal in characters.</summary>
public readonly record struct TerminalSize(ushort Rows, ushort Columns);

/// <summary>A mount in a container.</summary>
/// <param name="Destination">Absolute path in the container.</param>
/// <param name="Source">What is mounted.</param>
/// <param name="Selector">Path inside the source; empty for all of it.</param>
public sealed record ContainerMount(string Destination, IMountable Source, string Selector = "");

/// <summary>A name and address for <c>/etc/hosts</c>.</summary>
public sealed record ExtraHost(string Host, string Ip);

/// <summary>A resource limit, named as in <c>ulimit</c> (<c>nofile</c>).</summary>
public sealed record Ulimit(string Name, long Soft, long Hard);

/// <summary>Network of a container.</summary>
public enum NetworkMode
{
    /// <summary>The worker's default.</summary>
    Default,

    /// <summary>The host's.</summary>
    Host,

    /// <summary>A namespace with nothing but loopback.</summary>
    None,
}

/// <summary>Privileges of a container.</summary>
public enum SecurityMode
{
    Sandbox,
    Insecure,
}
