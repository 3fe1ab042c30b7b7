using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>Where work reports what it does. Calls are cheap, never block and never throw.</summary>
public interface IProgressWriter
{
    /// <summary>A state change of a vertex.</summary>
    void Write(VertexStatusUpdate update);

    /// <summary>Progress of a part of a vertex, such as one layer's download.</summary>
    void Write(ProgressStatus status);

    /// <summary>Output of a vertex.</summary>
    void Write(ProgressLog log);

    /// <summary>A warning.</summary>
    void Write(ProgressWarning warning);
}

/// <summary>The state of a vertex as clients see it; sent anew on every change (spec 03 §14).</summary>
public sealed record VertexStatusUpdate(
    Digest Digest, IReadOnlyList<Digest> Inputs, string Name, bool Cached,
    DateTimeOffset? Started, DateTimeOffset? Completed, string Error, ProgressGroup? ProgressGroup);

/// <summary>Progress of a named part of a vertex. Units are bytes unless the name says otherwise; total 0 = unknown.
/// An empty vertex digest means "the vertex this writer belongs to".</summary>
public sealed record ProgressStatus(
    string Id, Digest Vertex, string Name, long Current, long Total,
    DateTimeOffset Timestamp, DateTimeOffset? Started, DateTimeOffset? Completed);

/// <summary>Bytes written to stream 1 (stdout) or 2 (stderr).</summary>
public sealed record ProgressLog(Digest Vertex, int Stream, ReadOnlyMemory<byte> Data, DateTimeOffset Timestamp);

/// <summary>A warning tied to a vertex; <paramref name="SourceInfo"/> is a <c>pb.SourceInfo</c> and
/// <paramref name="Ranges"/> are <c>pb.Range</c>s, passed through unseen.</summary>
public sealed record ProgressWarning(
    Digest Vertex, int Level, ReadOnlyMemory<byte> Short, IReadOnlyList<ReadOnlyMemory<byte>> Detail, string Url,
    object? SourceInfo, IReadOnlyList<object> Ranges)
{
    /// <summary>A warning about no place in a source, tied to the vertex whose writer takes it.</summary>
    public static ProgressWarning Of(string text) => new(default, 1, System.Text.Encoding.UTF8.GetBytes(text), [], "", null, []);
}
