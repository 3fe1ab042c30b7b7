using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

/// <summary>What a record is made of (spec 06 §1.1).</summary>
internal enum RecordKind
{
    BaseLayer,
    Layer,
    Merge,
    Diff,
}

/// <summary>
/// A record in memory. Everything here is read and changed under <see cref="RefStore"/>'s lock; what is persistent
/// is written through before the lock is left.
/// </summary>
internal sealed class CacheRecord
{
    public required string Id { get; init; }

    // Which of these are set decides the kind.
    public CacheRecord? Parent { get; init; }

    public IReadOnlyList<CacheRecord> MergeParents { get; init; } = [];

    public CacheRecord? LowerDiffParent { get; init; }

    public CacheRecord? UpperDiffParent { get; init; }

    public bool IsDiff { get; init; }

    /// <summary>Immutable; a record that is not committed is a writable one.</summary>
    public bool Committed { get; init; }

    public required string SnapshotId { get; init; }

    /// <summary>The writable record whose snapshot holds the data until this one is finalized.</summary>
    public CacheRecord? EqualMutable { get; set; }

    /// <summary>The immutable record that was committed from this writable one and is not finalized.</summary>
    public CacheRecord? EqualImmutable { get; set; }

    public bool Retain { get; set; }

    public bool BlobOnly { get; set; }

    /// <summary>Bytes; -1 when not known.</summary>
    public long Size { get; set; } = -1;

    public string Description { get; set; } = "";

    public string RecordType { get; set; } = "";

    public DateTimeOffset CreatedAt { get; set; }

    public DateTimeOffset? LastUsedAt { get; set; }

    public long UsageCount { get; set; }

    public Digest DiffId { get; set; }

    public Digest Blob { get; set; }

    public ChainIds Chain { get; set; }

    public string MediaType { get; set; } = "";

    public long BlobSize { get; set; }

    public List<string> Urls { get; init; } = [];

    public List<string> ImageRefs { get; init; } = [];

    /// <summary>Handles and mounts that keep the record.</summary>
    public int Holds { get; set; }

    /// <summary>Those of the handles whose end counts as a use.</summary>
    public int Uses { get; set; }

    /// <summary>Records built on this one.</summary>
    public int Children { get; set; }

    /// <summary>Being removed, or removed.</summary>
    public bool Dead { get; set; }

    public RecordKind Kind =>
        IsDiff ? RecordKind.Diff :
        MergeParents.Count > 0 ? RecordKind.Merge :
        Parent is not null ? RecordKind.Layer : RecordKind.BaseLayer;

    public IEnumerable<CacheRecord> Parents
    {
        get
        {
            if (Parent is not null)
                yield return Parent;
            foreach (var parent in MergeParents)
                yield return parent;
            if (LowerDiffParent is not null)
                yield return LowerDiffParent;
            if (UpperDiffParent is not null)
                yield return UpperDiffParent;
        }
    }

    /// <summary>Nothing holds the record, nothing is built on it.</summary>
    public bool IsFree => Holds == 0 && Children == 0;

    /// <summary>Whether a diff is the last layer of its upper, whose blob then serves for it.</summary>
    public bool ReusesUpper => IsDiff && UpperDiffParent is { } upper && upper.Kind switch
    {
        RecordKind.BaseLayer => LowerDiffParent is null,
        RecordKind.Layer => LowerDiffParent is not null && ReferenceEquals(upper.Parent, LowerDiffParent),
        _ => false,
    };

    /// <summary>The records whose blobs make up this one, base first (spec 06 §1.3).</summary>
    public List<CacheRecord> LayerWalk()
    {
        var layers = new List<CacheRecord>();
        Walk(layers);
        return layers;
    }

    private void Walk(List<CacheRecord> layers)
    {
        switch (Kind)
        {
            case RecordKind.Merge:
                foreach (var parent in MergeParents)
                    parent.Walk(layers);
                break;
            case RecordKind.Diff when ReusesUpper:
                layers.Add(UpperDiffParent!);
                break;
            case RecordKind.Layer:
                Parent!.Walk(layers);
                layers.Add(this);
                break;
            default:
                layers.Add(this);
                break;
        }
    }
}
