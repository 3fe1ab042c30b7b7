using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>How a command is run.</summary>
public sealed record RunOptions
{
    /// <summary>Program and arguments; those set on the state when null.</summary>
    public IReadOnlyList<string>? Args { get; init; }

    /// <summary>Changes settings for this command only, for example <c>state => state.AddEnv("CI", "1")</c>.</summary>
    public Func<State, State>? Configure { get; init; }

    /// <summary>File systems mounted besides the root.</summary>
    public IReadOnlyList<RunMount> Mounts { get; init; } = [];

    /// <summary>Mount the root read-only; the state after the command is then the state before it.</summary>
    public bool ReadOnlyRoot { get; init; }

    /// <summary>Proxy settings given to the process without taking part in cache keys.</summary>
    public ProxySettings? Proxy { get; init; }

    /// <summary>Secrets, as files or variables.</summary>
    public IReadOnlyList<RunSecret> Secrets { get; init; } = [];

    /// <summary>Sockets of the client's SSH agents.</summary>
    public IReadOnlyList<RunSsh> Ssh { get; init; } = [];

    /// <summary>CDI devices.</summary>
    public IReadOnlyList<RunDevice> Devices { get; init; } = [];

    /// <summary>Platform, names, cache settings.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}

/// <summary>A file system mounted for a command.</summary>
/// <param name="Target">Where it is mounted.</param>
/// <param name="Source">What is mounted.</param>
public sealed record RunMount(string Target, State Source)
{
    /// <summary>Mount read-only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Path inside the source to mount; empty for all of it.</summary>
    public string Selector { get; init; } = "";

    /// <summary>Changes are thrown away.</summary>
    public bool NoOutput { get; init; }

    /// <summary>Id of a persistent cache directory; not a cache mount when empty.</summary>
    public string CacheId { get; init; } = "";

    /// <summary>How concurrent commands share the cache directory.</summary>
    public CacheSharingOpt CacheSharing { get; init; }

    /// <summary>Mount a fresh tmpfs.</summary>
    public bool IsTmpfs { get; init; }

    /// <summary>Size of the tmpfs in bytes; 0 leaves it to the kernel.</summary>
    public long TmpfsSize { get; init; }

    /// <summary>Whether the mount's content may stand for its definition in cache keys.</summary>
    public MountContentCache ContentCache { get; init; }

    /// <summary>A persistent cache directory.</summary>
    public static RunMount Cache(string target, string id, CacheSharingOpt sharing = CacheSharingOpt.Shared, State? source = null) =>
        new(target, source ?? State.Scratch) { CacheId = id, CacheSharing = sharing };

    /// <summary>A tmpfs.</summary>
    public static RunMount Tmpfs(string target, long size = 0) => new(target, State.Scratch) { IsTmpfs = true, TmpfsSize = size };

    internal bool IsCache => CacheId.Length > 0;

    internal bool HasOutput => !NoOutput && !ReadOnly && !IsCache && !IsTmpfs;
}

/// <summary>Values of the proxy variables; empty ones are not set.</summary>
public sealed record ProxySettings(string Http = "", string Https = "", string Ftp = "", string No = "", string All = "");

/// <summary>A secret for a command.</summary>
/// <param name="Id">Id under which the client offers it.</param>
public sealed record RunSecret(string Id)
{
    /// <summary>Path of the file; null for none.</summary>
    public string? Target { get; init; }

    /// <summary>Name of the variable; null for none.</summary>
    public string? Environment { get; init; }

    /// <summary>Owner of the file.</summary>
    public uint Uid { get; init; }

    /// <summary>Group of the file.</summary>
    public uint Gid { get; init; }

    /// <summary>Permission bits of the file, 0400 by default.</summary>
    public uint Mode { get; init; } = 0x100;

    /// <summary>Go on when the client has no such secret.</summary>
    public bool Optional { get; init; }

    /// <summary>A file; the id is the path unless another is given.</summary>
    public static RunSecret File(string target, string? id = null) => new(id ?? target) { Target = target };

    /// <summary>A variable.</summary>
    public static RunSecret Variable(string name, string id) => new(id) { Environment = name };
}

/// <summary>A socket of an SSH agent for a command.</summary>
/// <param name="Id">Which of the client's agents; empty for the default one.</param>
public sealed record RunSsh(string Id = "")
{
    /// <summary>Path of the socket; <c>/run/buildkit/ssh_agent.N</c> when null.</summary>
    public string? Target { get; init; }

    /// <summary>Owner of the socket.</summary>
    public uint Uid { get; init; }

    /// <summary>Group of the socket.</summary>
    public uint Gid { get; init; }

    /// <summary>Permission bits of the socket, 0600 by default.</summary>
    public uint Mode { get; init; } = 0x180;

    /// <summary>Go on when the client has no such agent.</summary>
    public bool Optional { get; init; }
}

/// <summary>A CDI device for a command.</summary>
/// <param name="Name">Qualified name, for example <c>vendor.com/gpu=gpu0</c>.</param>
/// <param name="Optional">Go on without it when the daemon has none.</param>
public sealed record RunDevice(string Name, bool Optional = false);
