using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>
/// The daemon as a frontend sees it. Implemented by the daemon itself for the built-in frontend and by the gateway
/// connection of a frontend container. Calls may run at the same time. Failures are exceptions of the
/// implementation's own kind; the frontend lets them pass or puts them inside a
/// <see cref="Parsing.DockerfileException"/> as <see cref="Exception.InnerException"/>.
/// </summary>
public interface IFrontendClient
{
    /// <summary>What was asked for and what the daemon can do.</summary>
    FrontendBuildOptions Options { get; }

    /// <summary>Solves a definition, or runs another frontend.</summary>
    Task<FrontendResult> SolveAsync(FrontendSolveRequest request, CancellationToken cancellationToken);

    /// <summary>Resolves an image name to its configuration. The frontend asks each question once per call.</summary>
    /// <exception cref="NonImageSourceException">A source policy turned the image into something else.</exception>
    Task<FrontendImageConfig> ResolveImageConfigAsync(string reference, ImageConfigQuery query, CancellationToken cancellationToken);

    /// <summary>Resolves a source (<c>docker-image://…</c>) to its metadata.</summary>
    Task<FrontendImageConfig> ResolveSourceMetadataAsync(string identifier, ImageConfigQuery query, CancellationToken cancellationToken);

    /// <summary>The definitions handed to the frontend by name.</summary>
    Task<IReadOnlyDictionary<string, Definition>> GetInputsAsync(CancellationToken cancellationToken);

    /// <summary>Shows a warning on a vertex of the build.</summary>
    Task WarnAsync(Digest vertex, FrontendWarning warning, CancellationToken cancellationToken);
}

/// <summary>Options of a frontend call and abilities of the daemon.</summary>
public sealed record FrontendBuildOptions
{
    /// <summary>Frontend options.</summary>
    public required IReadOnlyDictionary<string, string> Opts { get; init; }

    /// <summary>Session of the client.</summary>
    public required string SessionId { get; init; }

    /// <summary>Platforms of the first worker, the native one first; may be empty.</summary>
    public required IReadOnlyList<Platform> WorkerPlatforms { get; init; }

    /// <summary>What the daemon's graph can express.</summary>
    public required CapabilitySet LlbCaps { get; init; }

    /// <summary>What the daemon's gateway can do.</summary>
    public required CapabilitySet GatewayCaps { get; init; }
}

/// <summary>One cache to import from.</summary>
/// <param name="Type">Kind of cache, for example <c>registry</c>.</param>
/// <param name="Attributes">Where it is.</param>
public sealed record CacheImport(string Type, IReadOnlyDictionary<string, string> Attributes);

/// <summary>What to solve.</summary>
public sealed record FrontendSolveRequest
{
    /// <summary>The graph; null when another frontend is run.</summary>
    public Definition? Definition { get; init; }

    /// <summary>The other frontend; empty when a graph is solved.</summary>
    public string Frontend { get; init; } = "";

    /// <summary>Options of the other frontend.</summary>
    public IReadOnlyDictionary<string, string> FrontendOpts { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Inputs of the other frontend; null for none.</summary>
    public IReadOnlyDictionary<string, Definition>? FrontendInputs { get; init; }

    /// <summary>Caches to look results up in.</summary>
    public IReadOnlyList<CacheImport> CacheImports { get; init; } = [];

    /// <summary>Whether the result is computed before the call returns.</summary>
    public bool Evaluate { get; init; }
}

/// <summary>A result the daemon holds.</summary>
public interface IFrontendReference
{
    /// <summary>Reads a file, or <paramref name="length"/> bytes of it from <paramref name="offset"/>.</summary>
    Task<byte[]> ReadFileAsync(string path, long offset, long? length, CancellationToken cancellationToken);

    /// <summary>Lists a directory.</summary>
    Task<IReadOnlyList<FrontendFileInfo>> ReadDirAsync(string path, string includePattern, CancellationToken cancellationToken);

    /// <summary>Metadata of a file.</summary>
    Task<FrontendFileInfo> StatFileAsync(string path, CancellationToken cancellationToken);
}

/// <summary>Metadata of a file.</summary>
/// <param name="Path">Name.</param>
/// <param name="Mode">Type and permission bits.</param>
/// <param name="Size">Size in bytes.</param>
public sealed record FrontendFileInfo(string Path, uint Mode, long Size);

/// <summary>What a frontend call makes. The single reference is null for an empty file system.</summary>
public sealed class FrontendResult
{
    /// <summary>The result when there is one.</summary>
    public IFrontendReference? Reference { get; set; }

    /// <summary>Results by platform when they are keyed; a value is null for an empty file system.</summary>
    public Dictionary<string, IFrontendReference?> References { get; } = new(StringComparer.Ordinal);

    /// <summary>Metadata for exporters.</summary>
    public Dictionary<string, byte[]> Metadata { get; } = new(StringComparer.Ordinal);

    /// <summary>Attestations by platform id.</summary>
    public Dictionary<string, List<FrontendAttestation>> Attestations { get; } = new(StringComparer.Ordinal);
}

/// <summary>An attestation about a result: a bundle of in-toto statements, or one statement's predicate.</summary>
/// <param name="Reference">Where it is.</param>
/// <param name="PredicateType">Type of the predicates.</param>
/// <param name="Metadata">What it is for.</param>
public sealed record FrontendAttestation(IFrontendReference? Reference, string PredicateType, IReadOnlyDictionary<string, byte[]> Metadata)
{
    /// <summary>Whether it is a bundle.</summary>
    public bool IsBundle { get; init; } = true;

    /// <summary>Where in the result.</summary>
    public string Path { get; init; } = "";

    /// <summary>What it is about; empty for the result itself.</summary>
    public IReadOnlyList<FrontendSubject> Subjects { get; init; } = [];
}

/// <summary>What a statement is about.</summary>
/// <param name="IsSelf">The result, whatever it becomes.</param>
/// <param name="Name">A name; may be empty.</param>
/// <param name="Digests">Digests of something else.</param>
public sealed record FrontendSubject(bool IsSelf, string Name, IReadOnlyList<string> Digests);

/// <summary>How an image is resolved.</summary>
/// <param name="LogName">Name of the step shown to the user.</param>
/// <param name="Platform">Platform; null for the daemon's default.</param>
/// <param name="ResolveMode"><c>default</c>, <c>pull</c>, <c>local</c> or empty.</param>
/// <param name="OciSessionId">Session of an OCI layout store; null for registries.</param>
/// <param name="OciStoreId">Name of an OCI layout store; null for registries.</param>
public sealed record ImageConfigQuery(string LogName, Platform? Platform, string ResolveMode, string? OciSessionId = null, string? OciStoreId = null);

/// <summary>A resolved image.</summary>
/// <param name="Reference">Its name, possibly changed by policy.</param>
/// <param name="Digest">Digest of its manifest or index; may be empty.</param>
/// <param name="Config">Its configuration as JSON.</param>
public sealed record FrontendImageConfig(string Reference, Digest Digest, byte[] Config);

/// <summary>A source policy turned an image into another kind of source.</summary>
public sealed class NonImageSourceException(string reference, string updated)
    : Exception($"ref mutated by policy to non-image: {reference} -> {updated}")
{
    /// <summary>Identifier of the new source, for example <c>https://…</c>.</summary>
    public string Updated { get; } = updated;
}

/// <summary>A warning for the user.</summary>
/// <param name="Short">One line.</param>
/// <param name="Detail">Explanation.</param>
/// <param name="Url">Where to read more; may be empty.</param>
/// <param name="Level">Urgency, 1 is ordinary.</param>
/// <param name="Source">The file it is about.</param>
/// <param name="Ranges">Lines it is about.</param>
public sealed record FrontendWarning(string Short, IReadOnlyList<string> Detail, string Url, int Level, SourceInfo Source, IReadOnlyList<Parsing.SourceRange> Ranges);

/// <summary>The client asked for a frontend ability this frontend has not: typed detail <c>FrontendCap</c>.</summary>
public sealed class UnsupportedFrontendCapException(string name) : Exception($"unsupported frontend capability {name}")
{
    /// <summary>Name of the ability.</summary>
    public string Name { get; } = name;
}

/// <summary>The client asked for a request this frontend does not answer: typed detail <c>Subrequest</c>.</summary>
public sealed class UnsupportedSubrequestException(string name) : Exception($"unsupported request {name}")
{
    /// <summary>Name of the request.</summary>
    public string Name { get; } = name;
}

/// <summary>A failure with the places in the Dockerfile it belongs to; each is a typed detail <c>Source</c>.</summary>
public sealed class FrontendSourceException(string message, IReadOnlyList<FrontendErrorSource> sources, Exception inner) : Exception(message, inner)
{
    /// <summary>The places, in order.</summary>
    public IReadOnlyList<FrontendErrorSource> Sources { get; } = sources;
}

/// <summary>A place in a file.</summary>
/// <param name="Info">The file.</param>
/// <param name="Ranges">Lines.</param>
public sealed record FrontendErrorSource(SourceInfo Info, IReadOnlyList<Parsing.SourceRange> Ranges);
