using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>The two names of a cache that several writers join.</summary>
internal enum CacheTag
{
    /// <summary>The one users give, and all importers read.</summary>
    Main,
    /// <summary>A second one beside it: a writer that overwrites another one under one name does not do so under both.</summary>
    Second,
}

/// <summary>What became of the wish to move a name.</summary>
internal enum MoveOutcome
{
    /// <summary>It points where it should.</summary>
    Moved,
    /// <summary>It points at something nobody expected, and was left.</summary>
    Changed,
    /// <summary>The target takes no such name.</summary>
    Refused,
}

/// <summary>A target whose names point at the last manifest, for whoever reads them, and are replaced without conditions.</summary>
internal interface IJoinableTarget : IManifestTarget
{
    /// <summary>Identity of the main name: exports into the same one take turns.</summary>
    string Place { get; }

    /// <summary>Reads what was written.</summary>
    IBlobProvider Blobs { get; }

    /// <summary>What a name points at, or null.</summary>
    Task<Descriptor?> FindAsync(CacheTag tag, CancellationToken cancellationToken);

    /// <summary>Looks at a name, and points it at a manifest when it points at something expected (the default digest stands for
    /// nothing). A look at the given time that is young enough is not repeated. Only a second name is ever refused.</summary>
    Task<MoveOutcome> MoveAsync(
        CacheTag tag, Descriptor manifest, ReadOnlyMemory<byte> bytes, IReadOnlyCollection<Digest> expected, long? looked, CancellationToken cancellationToken);
}
