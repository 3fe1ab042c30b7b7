namespace BuildKit.Dockerfile.Parsing;

/// <summary>
/// The Dockerfile, or an option of the build, is wrong. <see cref="Locations"/> holds one entry per place the
/// error belongs to (usually one; a dependency cycle has one per command); it is empty when the error has no
/// position (spec 05 §12).
/// </summary>
public sealed class DockerfileException : Exception
{
    private readonly List<IReadOnlyList<SourceRange>> _locations = [];

    /// <summary>An error without a position yet.</summary>
    public DockerfileException(string message)
        : base(message)
    {
    }

    /// <summary>An error caused by another one.</summary>
    public DockerfileException(string message, Exception? inner)
        : base(message, inner)
    {
        if (inner is DockerfileException dockerfile)
            _locations.AddRange(dockerfile._locations);
    }

    /// <summary>The places the error belongs to, each a list of ranges.</summary>
    public IReadOnlyList<IReadOnlyList<SourceRange>> Locations => _locations;

    /// <summary>Adds a place.</summary>
    public DockerfileException At(IReadOnlyList<SourceRange> location)
    {
        _locations.Add(location);
        return this;
    }

    /// <summary>Replaces all places by one.</summary>
    public DockerfileException OnlyAt(IReadOnlyList<SourceRange> location)
    {
        _locations.Clear();
        _locations.Add(location);
        return this;
    }
}
