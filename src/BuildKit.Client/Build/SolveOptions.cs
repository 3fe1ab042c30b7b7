using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Session.FileSend;
using BuildKit.Session.FileSync;
using Policy = BuildKit.Protocol.SourcePolicy.Policy;

namespace BuildKit.Client;

/// <summary>One thing to make of the result.</summary>
/// <param name="Type">Exporter, for example <c>image</c>.</param>
/// <param name="Attributes">What the daemon gets.</param>
public sealed record ExportRequest(string Type, IReadOnlyDictionary<string, string> Attributes)
{
    /// <summary>Where bytes or files that the exporter sends back go; null for one that sends none.</summary>
    public SendTarget? Target { get; init; }

    /// <summary>Layout directory that an <c>oci</c> or <c>docker</c> exporter with <c>tar=false</c> fills; empty for none.</summary>
    public string LayoutDirectory { get; init; } = "";
}

/// <summary>A cache to import from or export to.</summary>
/// <param name="Type">Backend, for example <c>registry</c>.</param>
/// <param name="Attributes">What the daemon gets.</param>
public sealed record CacheRequest(string Type, IReadOnlyDictionary<string, string> Attributes);

/// <summary>Decides what a tag of a local cache directory points at after an export; called while the directory's index is locked.</summary>
/// <param name="layout">The directory; it holds all blobs of both caches.</param>
/// <param name="current">What the tag points at; null for nothing.</param>
/// <param name="exported">What the build exported.</param>
/// <param name="attributes">Attributes of the export.</param>
/// <param name="cancellationToken">Ends it.</param>
public delegate Task<Oci.Descriptor> LocalCacheJoin(
    Oci.OciLayout layout, Oci.Descriptor? current, Oci.Descriptor exported, IReadOnlyDictionary<string, string> attributes, CancellationToken cancellationToken);

/// <summary>Everything a build is asked for with.</summary>
public sealed record SolveOptions
{
    /// <summary>Name of the build; see <see cref="Session.Transport.SessionId.New"/>.</summary>
    public required string Ref { get; init; }

    /// <summary>Frontend that makes LLB; empty when <see cref="Definition"/> holds it.</summary>
    public string Frontend { get; init; } = "";

    /// <summary>Options of the frontend.</summary>
    public IReadOnlyDictionary<string, string> FrontendAttributes { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>LLB to build; null when a frontend makes it.</summary>
    public Definition? Definition { get; init; }

    /// <summary>What to make of the result; none leaves it in the daemon's cache.</summary>
    public IReadOnlyList<ExportRequest> Exports { get; init; } = [];

    /// <summary>Caches to write after the build.</summary>
    public IReadOnlyList<CacheRequest> CacheExports { get; init; } = [];

    /// <summary>Caches to look results up in.</summary>
    public IReadOnlyList<CacheRequest> CacheImports { get; init; } = [];

    /// <summary>Directories that the build may read, by name.</summary>
    public IReadOnlyDictionary<string, LocalDirectory> LocalDirectories { get; init; } = new Dictionary<string, LocalDirectory>(StringComparer.Ordinal);

    /// <summary>OCI layout directories that the build may read, by name.</summary>
    public IReadOnlyDictionary<string, string> OciLayouts { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>More services of the session: credentials, secrets, ssh agents, uploads.</summary>
    public IReadOnlyList<GrpcService> SessionServices { get; init; } = [];

    /// <summary>Entitlements asked for.</summary>
    public IReadOnlyList<string> Entitlements { get; init; } = [];

    /// <summary>Rules for sources.</summary>
    public Policy? SourcePolicy { get; init; }

    /// <summary>Key that lets sessions share the transferred files of a directory; may be empty.</summary>
    public string SharedKey { get; init; } = "";

    /// <summary>Joins what a build exported with what a local cache directory holds; null replaces it.</summary>
    public LocalCacheJoin? JoinLocalCache { get; init; }

    /// <summary>The daemon is to be asked afterwards why steps were executed; tells it beforehand, which makes its answer
    /// exact about files. Daemons that cannot explain ignore it.</summary>
    public bool ExplainsCache { get; init; }

    /// <summary>Gets things worth a warning, such as a cache that is not there.</summary>
    public Action<string>? Warn { get; init; }
}

/// <summary>What a build answered.</summary>
/// <param name="ExporterResponse">Entries of the exporters and caches (spec 07 §11).</param>
/// <param name="Metadata">Metadata of the frontend's result, for example <c>result.txt</c> of a subrequest.</param>
public sealed record BuildResult(IReadOnlyDictionary<string, string> ExporterResponse, IReadOnlyDictionary<string, byte[]> Metadata);
