using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

/// <summary>The two identities of a layer stack (spec 06 §1.3): by content, and by content plus compressed form.</summary>
/// <param name="ChainId">Hash chain over the diff ids.</param>
/// <param name="BlobChainId">Hash chain over blobs and diff ids.</param>
public readonly record struct ChainIds(Digest ChainId, Digest BlobChainId)
{
    /// <summary>Whether there are no ids.</summary>
    public bool IsEmpty => ChainId.IsEmpty || BlobChainId.IsEmpty;

    /// <summary>The ids of a base layer.</summary>
    public static ChainIds OfBase(Digest blob, Digest diffId) => new(diffId, Chain(blob, diffId));

    /// <summary>The ids of a layer on this stack.</summary>
    public ChainIds Add(Digest blob, Digest diffId) =>
        IsEmpty ? OfBase(blob, diffId) : new(Chain(ChainId, diffId), Chain(BlobChainId, Chain(blob, diffId)));

    private static Digest Chain(Digest first, Digest second) => Digest.Sha256($"{first} {second}");
}
