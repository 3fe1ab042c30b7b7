using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>Writes a key, its result's layers and everything below it into a target (spec 03 §12).</summary>
public interface ICacheExporter
{
    /// <summary>Exports into <paramref name="target"/> and returns the target's records for this key.</summary>
    Task<IReadOnlyList<ICacheExporterRecord>> ExportToAsync(ICacheExporterTarget target, CacheExportOptions options, CancellationToken cancellationToken);
}

/// <summary>What an export goes into: BuildKit.RemoteCache's record graph.</summary>
public interface ICacheExporterTarget
{
    /// <summary>Adds (or finds) the record with a digest.</summary>
    ICacheExporterRecord Add(Digest digest);

    /// <summary>Whether an exporter was already visited in this run, and its records.</summary>
    bool TryGetVisited(object exporter, out IReadOnlyList<ICacheExporterRecord> records);

    /// <summary>Marks an exporter as visited.</summary>
    void Visit(object exporter, IReadOnlyList<ICacheExporterRecord> records);
}

/// <summary>A record being exported.</summary>
public interface ICacheExporterRecord
{
    /// <summary>Adds a result: opaque layers (<c>RemoteLayers</c> of BuildKit.Storage) and when they were made.</summary>
    void AddResult(Digest vertex, int output, DateTimeOffset createdAt, object remote);

    /// <summary>Links this record to one of its inputs' records.</summary>
    void LinkFrom(ICacheExporterRecord source, int input, Digest selector);
}

/// <summary>How far an export goes.</summary>
public enum CacheExportMode
{
    /// <summary>Only the layers of the final results are made.</summary>
    Min,

    /// <summary>Layers are made for every record.</summary>
    Max,

    /// <summary>Only layers that already exist are listed.</summary>
    RemoteOnly,
}

/// <summary>Settings of one export run.</summary>
public sealed record CacheExportOptions
{
    /// <summary>How far to go.</summary>
    public CacheExportMode Mode { get; init; }

    /// <summary>Compression wanted (<c>CompressionOptions</c> of BuildKit.Storage), or null for "as it is".</summary>
    public object? Compression { get; init; }

    /// <summary>Sessions that may serve layer fetches.</summary>
    public IEnumerable<string> SessionIds { get; init; } = [];

    /// <summary>Makes the layers of a loaded result (<c>RemoteLayers</c> each).</summary>
    public required Func<IResult, CancellationToken, Task<IReadOnlyList<object>>> ResolveRemotes { get; init; }

    /// <summary>Also give records to keys without dependencies.</summary>
    public bool ExportRoots { get; init; }

    /// <summary>Leave out the alternative chains stored by earlier builds.</summary>
    public bool IgnoreBacklinks { get; init; }
}
