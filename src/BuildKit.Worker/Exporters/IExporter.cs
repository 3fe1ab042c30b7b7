using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Exporters;

/// <summary>Makes exporters of one type (<c>image</c>, <c>oci</c>, <c>docker</c>, <c>local</c>, <c>tar</c>).</summary>
public interface IExporterFactory
{
    /// <summary>The type as <c>--output type=…</c> names it.</summary>
    string Type { get; }

    /// <summary>An exporter for one output of a solve request. Attribute errors are thrown here, before the build starts.</summary>
    /// <param name="index">Position of the output in the request; names the client's target.</param>
    /// <param name="attributes">Attributes of the output.</param>
    IExporter Create(int index, IReadOnlyDictionary<string, string> attributes);
}

/// <summary>Turns a build's result into something outside the daemon (spec 07 §2).</summary>
public interface IExporter
{
    /// <summary>Name of the progress vertex, for example <c>exporting to image</c>.</summary>
    string Name { get; }

    /// <summary>Exports. The entries returned go into the solve's answer.</summary>
    Task<IReadOnlyDictionary<string, string>> ExportAsync(ExportRequest request, CancellationToken cancellationToken);
}

/// <summary>What to export.</summary>
public sealed record ExportRequest
{
    /// <summary>The build's result.</summary>
    public required ExportSource Source { get; init; }

    /// <summary>Progress and sessions of the export's own vertex.</summary>
    public required IOperationContext Context { get; init; }

    /// <summary>The session that asked for the export: where client outputs go and credentials come from.</summary>
    public required string SessionId { get; init; }

    /// <summary>Open sessions.</summary>
    public required IClientSessions Sessions { get; init; }

    /// <summary>
    /// Cache records to put into the image config of a result, given the result's key ("" for the single one), the layers
    /// of the image being written and their compression; null when the build exports no inline cache.
    /// </summary>
    public Func<string, RemoteLayers, CompressionOptions, CancellationToken, Task<byte[]?>>? InlineCache { get; init; }
}

/// <summary>A result as exporters see it: one ref, or several by platform id.</summary>
public sealed record ExportSource
{
    /// <summary>The single ref; null for an empty one (or when there are several).</summary>
    public IImmutableRef? Ref { get; init; }

    /// <summary>Refs by platform id (<c>linux/amd64</c>); a null value is an empty tree. Empty when there is a single ref.</summary>
    public IReadOnlyDictionary<string, IImmutableRef?> Refs { get; init; } = new Dictionary<string, IImmutableRef?>(StringComparer.Ordinal);

    /// <summary>Whether the result is keyed by platform, even if by none.</summary>
    public bool IsKeyed { get; init; }

    /// <summary>Metadata of the frontend (<c>containerimage.config</c>, <c>refs.platforms</c>, …).</summary>
    public IReadOnlyDictionary<string, byte[]> Metadata { get; init; } = new Dictionary<string, byte[]>(StringComparer.Ordinal);

    /// <summary>Attestations by platform id.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<ExportAttestation>> Attestations { get; init; } =
        new Dictionary<string, IReadOnlyList<ExportAttestation>>(StringComparer.Ordinal);
}

/// <summary>An attestation about a result (spec 07 §9).</summary>
public sealed record ExportAttestation
{
    /// <summary>An in-toto statement to make, or a bundle of finished ones in a tree.</summary>
    public bool IsBundle { get; init; }

    /// <summary>The tree of a bundle or of a predicate; null when <see cref="Content"/> holds the predicate.</summary>
    public IImmutableRef? Ref { get; init; }

    /// <summary>Where in the tree, or the name of the statement.</summary>
    public string Path { get; init; } = "";

    /// <summary>Makes the predicate, when it is not in a tree. It may tell of layers, so that it is called after they were
    /// exported, once by each output.</summary>
    public Func<CancellationToken, Task<byte[]>>? Content { get; init; }

    /// <summary>Type of the predicate.</summary>
    public string PredicateType { get; init; } = "";

    /// <summary>Metadata (<c>reason</c>, <c>inline-only</c>, …).</summary>
    public IReadOnlyDictionary<string, byte[]> Metadata { get; init; } = new Dictionary<string, byte[]>(StringComparer.Ordinal);

    /// <summary>Subjects named by the frontend; empty for the image itself.</summary>
    public IReadOnlyList<ExportSubject> Subjects { get; init; } = [];
}

/// <summary>What a statement is about.</summary>
public sealed record ExportSubject(bool IsSelf, string Name, IReadOnlyList<string> Digests);
