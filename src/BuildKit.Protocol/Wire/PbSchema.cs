using static BuildKit.Protocol.Wire.WireField;

namespace BuildKit.Protocol.Wire;

/// <summary>Shapes of the messages of package <c>pb</c> (spec 02 §1) and of <c>errdefs.Solve</c> (spec 01 §1.10).</summary>
internal static class PbSchema
{
    public static readonly WireMessage Position = new(Int32(1, "line"), Int32(2, "character"));

    public static readonly WireMessage Range = new(
        Message(1, "start", () => Position), Message(2, "end", () => Position));

    public static readonly WireMessage Location = new(Int32(1, "sourceIndex"), Message(2, "ranges", () => Range).Many);

    public static readonly WireMessage Locations = new(Message(1, "locations", () => Location).Many);

    public static readonly WireMessage SourceInfo = new(
        String(1, "filename"), Bytes(2, "data"), Message(3, "definition", () => Definition!), String(4, "language"));

    public static readonly WireMessage Source = new(
        Message(1, "locations", () => Locations).ByKey, Message(2, "infos", () => SourceInfo).Many);

    public static readonly WireMessage ExportCache = new(Bool(1, "Value"));

    public static readonly WireMessage ProgressGroup = new(String(1, "id"), String(2, "name"), Bool(3, "weak"));

    public static readonly WireMessage OpMetadata = new(
        Bool(1, "ignoreCache"),
        String(2, "description").ByKey,
        Message(4, "exportCache", () => ExportCache),
        Bool(5, "caps").ByKey,
        Message(6, "progressGroup", () => ProgressGroup));

    public static readonly WireMessage Definition = new(
        Bytes(1, "def").Many,
        Message(2, "metadata", () => OpMetadata).ByKey,
        Message(3, "Source", () => Source));

    public static readonly WireMessage NamedUserOpt = new(String(1, "name"), Int64(2, "input"));

    public static readonly WireMessage UserOpt = new(
        Message(1, "byName", () => NamedUserOpt).OneOf, UInt32(2, "byID").OneOf);

    public static readonly WireMessage ChownOpt = new(
        Message(1, "user", () => UserOpt), Message(2, "group", () => UserOpt));

    public static readonly WireMessage FileActionCopy = new(
        String(1, "src"),
        String(2, "dest"),
        Message(3, "owner", () => ChownOpt),
        Int32(4, "mode"),
        Bool(5, "followSymlink"),
        Bool(6, "dirCopyContents"),
        Bool(7, "attemptUnpackDockerCompatibility"),
        Bool(8, "createDestPath"),
        Bool(9, "allowWildcard"),
        Bool(10, "allowEmptyWildcard"),
        Int64(11, "timestamp"),
        String(12, "includePatterns").Many,
        String(13, "excludePatterns").Many,
        Bool(14, "alwaysReplaceExistingDestPaths"),
        String(15, "modeStr"));

    public static readonly WireMessage FileActionMkFile = new(
        String(1, "path"),
        Int32(2, "mode"),
        Bytes(3, "data"),
        Message(4, "owner", () => ChownOpt),
        Int64(5, "timestamp"));

    public static readonly WireMessage FileActionMkDir = new(
        String(1, "path"),
        Int32(2, "mode"),
        Bool(3, "makeParents"),
        Message(4, "owner", () => ChownOpt),
        Int64(5, "timestamp"));

    public static readonly WireMessage FileActionRm = new(
        String(1, "path"), Bool(2, "allowNotFound"), Bool(3, "allowWildcard"));

    public static readonly WireMessage FileActionSymlink = new(
        String(1, "oldpath"), String(2, "newpath"), Message(3, "owner", () => ChownOpt), Int64(4, "timestamp"));

    public static readonly WireMessage FileAction = new(
        Int64(1, "input"),
        Int64(2, "secondaryInput"),
        Int64(3, "output"),
        Message(4, "copy", () => FileActionCopy).OneOf,
        Message(5, "mkfile", () => FileActionMkFile).OneOf,
        Message(6, "mkdir", () => FileActionMkDir).OneOf,
        Message(7, "rm", () => FileActionRm).OneOf,
        Message(8, "symlink", () => FileActionSymlink).OneOf);

    public static readonly WireMessage FileOp = new(Message(2, "actions", () => FileAction).Many);

    public static readonly WireMessage IndexInput = new(Int64(1, "input"));

    public static readonly WireMessage DiffOp = new(
        Message(1, "lower", () => IndexInput), Message(2, "upper", () => IndexInput));

    public static readonly WireMessage MergeOp = new(Message(1, "inputs", () => IndexInput).Many);

    public static readonly WireMessage BuildOp = new(
        Int64(1, "builder"),
        Message(2, "inputs", () => IndexInput).ByKey,
        Message(3, "def", () => Definition),
        String(4, "attrs").ByKey);

    public static readonly WireMessage SourceOp = new(String(1, "identifier"), String(2, "attrs").ByKey);

    public static readonly WireMessage CacheOpt = new(
        String(1, "ID"), Enum(2, "sharing", "SHARED", "PRIVATE", "LOCKED"));

    public static readonly WireMessage TmpfsOpt = new(Int64(1, "size"));

    public static readonly WireMessage SecretOpt = new(
        String(1, "ID"), UInt32(2, "uid"), UInt32(3, "gid"), UInt32(4, "mode"), Bool(5, "optional"));

    public static readonly WireMessage Mount = new(
        Int64(1, "input"),
        String(2, "selector"),
        String(3, "dest"),
        Int64(4, "output"),
        Bool(5, "readonly"),
        Enum(6, "mountType", "BIND", "SECRET", "SSH", "CACHE", "TMPFS"),
        Message(19, "TmpfsOpt", () => TmpfsOpt),
        Message(20, "cacheOpt", () => CacheOpt),
        Message(21, "secretOpt", () => SecretOpt),
        Message(22, "SSHOpt", () => SecretOpt),
        String(23, "resultID"),
        Enum(24, "contentCache", "DEFAULT", "ON", "OFF"));

    public static readonly WireMessage HostIP = new(String(1, "Host"), String(2, "IP"));

    public static readonly WireMessage Ulimit = new(String(1, "Name"), Int64(2, "Soft"), Int64(3, "Hard"));

    public static readonly WireMessage ProxyEnv = new(
        String(1, "httpProxy"),
        String(2, "httpsProxy"),
        String(3, "ftpProxy"),
        String(4, "noProxy"),
        String(5, "allProxy"));

    public static readonly WireMessage Meta = new(
        String(1, "args").Many,
        String(2, "env").Many,
        String(3, "cwd"),
        String(4, "user"),
        Message(5, "proxyEnv", () => ProxyEnv),
        Message(6, "extraHosts", () => HostIP).Many,
        String(7, "hostname"),
        Message(9, "ulimit", () => Ulimit).Many,
        String(10, "cgroupParent"),
        Bool(11, "removeMountStubsRecursive"),
        Int32(12, "validExitCodes").Many);

    public static readonly WireMessage SecretEnv = new(String(1, "ID"), String(2, "name"), Bool(3, "optional"));

    public static readonly WireMessage CdiDevice = new(String(1, "name"), Bool(2, "optional"));

    public static readonly WireMessage ExecOp = new(
        Message(1, "meta", () => Meta),
        Message(2, "mounts", () => Mount).Many,
        Enum(3, "network", "UNSET", "HOST", "NONE"),
        Enum(4, "security", "SANDBOX", "INSECURE"),
        Message(5, "secretenv", () => SecretEnv).Many,
        Message(6, "cdiDevices", () => CdiDevice).Many);

    public static readonly WireMessage Platform = new(
        String(1, "Architecture"),
        String(2, "OS"),
        String(3, "Variant"),
        String(4, "OSVersion"),
        String(5, "OSFeatures").Many);

    public static readonly WireMessage WorkerConstraints = new(String(1, "filter").Many);

    public static readonly WireMessage Input = new(String(1, "digest"), Int64(2, "index"));

    public static readonly WireMessage Op = new(
        Message(1, "inputs", () => Input).Many,
        Message(2, "exec", () => ExecOp).OneOf,
        Message(3, "source", () => SourceOp).OneOf,
        Message(4, "file", () => FileOp).OneOf,
        Message(5, "build", () => BuildOp).OneOf,
        Message(6, "merge", () => MergeOp).OneOf,
        Message(7, "diff", () => DiffOp).OneOf,
        Message(10, "platform", () => Platform),
        Message(11, "constraints", () => WorkerConstraints));

    public static readonly WireMessage SolveSubject = new(Int64(1, "index"));

    public static readonly WireMessage Solve = new(
        String(1, "inputIDs").Many,
        String(2, "mountIDs").Many,
        Message(3, "op", () => Op),
        Message(4, "file", () => SolveSubject).OneOf,
        Message(5, "cache", () => SolveSubject).OneOf,
        String(6, "description").ByKey);
}
