using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>A step of solving failed; the inner exception says why, and <see cref="VertexException"/> further inside
/// says for which vertex.</summary>
public sealed class SolveException(string message, Exception inner) : Exception(message, inner);

/// <summary>An operation failed. The message is the cause's; the type carries what clients need to point at the
/// place in their source (spec 03 §13).</summary>
public sealed class VertexException(Digest vertex, object operation, IReadOnlyDictionary<string, string> description, Exception inner)
    : Exception(inner.Message, inner)
{
    /// <summary>Digest of the vertex as the client sent it.</summary>
    public Digest Vertex { get; } = vertex;

    /// <summary>What the vertex does (<see cref="BuildKit.Solver.Vertex.Operation"/>).</summary>
    public object Operation { get; } = operation;

    /// <summary>The vertex' description.</summary>
    public IReadOnlyDictionary<string, string> Description { get; } = description;
}

/// <summary>The digest of an input's content could not be computed.</summary>
public sealed class SlowCacheException(int input, IResult? result, Exception inner) : Exception(inner.Message, inner)
{
    /// <summary>Index of the input.</summary>
    public int Input { get; } = input;

    /// <summary>The input's result; borrowed, valid while the build's job lives. Null for scratch.</summary>
    public IResult? Result { get; } = result;
}

/// <summary>A build id is taken.</summary>
public sealed class JobExistsException(string id) : Exception($"job ID {id} exists");

/// <summary>There is no build with an id, and none appeared in time.</summary>
public sealed class JobNotFoundException(string id) : Exception($"no such job {id}");

/// <summary>An error that keeps results alive, so that what failed can be looked at. The solver remembers the error of a
/// vertex and disposes what it holds when the vertex goes.</summary>
public interface IResultHolder
{
    /// <summary>The results; borrowed for everybody but the solver.</summary>
    IEnumerable<IResult> HeldResults { get; }
}
