using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

// Records made of blobs and of other records (spec 06 §1.3).
public sealed partial class RefStore
{
    private const string UncompressedAnnotation = "containerd.io/uncompressed";

    /// <inheritdoc/>
    public async Task<IImmutableRef> GetByBlobAsync(Descriptor descriptor, IImmutableRef? parent, RefOptions options, CancellationToken cancellationToken)
    {
        if (!descriptor.Annotations.TryGetValue(UncompressedAnnotation, out var text))
            throw new InvalidOperationException($"missing uncompressed annotation for {descriptor.Digest}");
        var diffId = Digest.Parse(text);
        await using var below = parent is null ? null : Borrow(parent, options);
        if (below is not null)
            await below.FinalizeAsync(cancellationToken);
        var inherited = Inherit(options, below);
        ImmutableRef result;
        bool newSource;
        lock (_gate)
        {
            // In one step with the registration: a collection sees the new owner, or the blob is seen to be gone.
            if (!options.Handlers.ContainsKey(descriptor.Digest) && !_content.Contains(descriptor.Digest))
                throw new MissingDescriptorHandlersException([descriptor.Digest]);
            if (below is { Record.Chain.IsEmpty: true })
                throw new InvalidOperationException("failed to get ref by blob on non-addressable parent");
            var chain = (below?.Record.Chain ?? default).Add(descriptor.Digest, diffId);
            result = FindUsable(_byBlobChain, chain.BlobChainId, inherited) is { } same
                ? Hold(same, inherited, !options.NoUpdateLastUsed)
                : NewLazy(descriptor, diffId, chain, below?.Record, inherited);
            newSource = AddImageRef(result.Record, options.ImageRef);
        }

        if (newSource)
            await AddSourcesAsync(result.Record, cancellationToken);

        if (options.Handlers.TryGetValue(descriptor.Digest, out var handler) && handler.SessionBound)
        {
            try
            {
                await FetchBlobAsync(result.Record, result.Options, cancellationToken);
                await result.ExtractAsync(cancellationToken);
            }
            catch
            {
                await result.DisposeAsync();
                throw;
            }
        }

        return result;
    }

    /// <inheritdoc/>
    public async Task<IImmutableRef?> MergeAsync(IReadOnlyList<IImmutableRef?> inputs, RefOptions options, CancellationToken cancellationToken)
    {
        var held = inputs.OfType<IImmutableRef>().Select(input => Borrow(input, options)).ToList();
        try
        {
            if (held.Count == 0)
                return null;
            var parents = held.SelectMany(h => h.Record.Kind == RecordKind.Merge ? h.Record.MergeParents : [h.Record]).ToList();
            var inherited = Inherit(options, held);
            if (parents.Count == 1)
                return Hold(parents[0], inherited, !options.NoUpdateLastUsed);
            return await NewMergeAsync(parents, inherited, cancellationToken);
        }
        finally
        {
            foreach (var input in held)
                await input.DisposeAsync();
        }
    }

    /// <inheritdoc/>
    public async Task<IImmutableRef?> DiffAsync(IImmutableRef? lower, IImmutableRef? upper, RefOptions options, CancellationToken cancellationToken)
    {
        if (lower is null)
            throw new InvalidOperationException("lower ref for diff cannot be nil");
        await using var below = Borrow(lower, options);
        await using var above = upper is null ? null : Borrow(upper, options);
        var inherited = Inherit(options, below, above);
        if (above is null || StepsBetween(below.Record, above.Record) is not { } steps)
            return await NewDiffAsync(below.Record, above?.Record, inherited, cancellationToken);

        // Upper is made of lower and at least two more layers: keep each of those layers as it is.
        var parts = new List<ImmutableRef>();
        try
        {
            foreach (var layer in steps)
            {
                parts.Add(layer.Parent is { } base_
                    ? await NewDiffAsync(base_, layer, inherited with { Description = $"diff \"{base_.Id}\" -> \"{layer.Id}\"" }, cancellationToken)
                    : Hold(layer, inherited, countsUse: false));
            }

            return await NewMergeAsync(parts.ConvertAll(p => p.Record), inherited, cancellationToken);
        }
        finally
        {
            foreach (var part in parts)
                await part.DisposeAsync();
        }
    }

    private static List<CacheRecord>? StepsBetween(CacheRecord lower, CacheRecord upper)
    {
        var below = lower.LayerWalk();
        var above = upper.LayerWalk();
        return above.Count > below.Count + 1 && below.SequenceEqual(above.Take(below.Count)) ? above.Skip(below.Count).ToList() : null;
    }

    private async Task<ImmutableRef> NewMergeAsync(IReadOnlyList<CacheRecord> parents, RefOptions options, CancellationToken cancellationToken)
    {
        foreach (var parent in parents)
            await FinalizeAsync(parent, cancellationToken);
        var id = Identifiers.New();
        return RegisterImmutable(new CacheRecord { Id = id, SnapshotId = id, MergeParents = parents, Committed = true }, options);
    }

    private async Task<ImmutableRef> NewDiffAsync(CacheRecord lower, CacheRecord? upper, RefOptions options, CancellationToken cancellationToken)
    {
        await FinalizeAsync(lower, cancellationToken);
        if (upper is not null)
            await FinalizeAsync(upper, cancellationToken);
        var id = Identifiers.New();
        var record = new CacheRecord { Id = id, SnapshotId = id, LowerDiffParent = lower, UpperDiffParent = upper, IsDiff = true, Committed = true };
        return RegisterImmutable(record, options);
    }

    private ImmutableRef RegisterImmutable(CacheRecord record, RefOptions options)
    {
        Initialize(record, options);
        lock (_gate)
        {
            var countsUse = !options.NoUpdateLastUsed;
            record.Holds = 1;
            record.Uses = countsUse ? 1 : 0;
            Register(record);
            return new ImmutableRef(this, record, options, countsUse);
        }
    }

    // Needs the lock.
    private ImmutableRef NewLazy(Descriptor descriptor, Digest diffId, ChainIds chain, CacheRecord? parent, RefOptions options)
    {
        // Equal content in another compression: one tree serves both.
        var snapshot = FindUsable(_byChain, chain.ChainId, options)?.SnapshotId ?? chain.ChainId.ToString();
        var record = new CacheRecord
        {
            Id = Identifiers.New(),
            SnapshotId = snapshot,
            Parent = parent,
            Committed = true,
            BlobOnly = true,
            DiffId = diffId,
            Blob = descriptor.Digest,
            BlobSize = descriptor.Size,
            MediaType = descriptor.MediaType,
            Chain = chain,
            Urls = [.. descriptor.Urls],
        };
        return RegisterImmutable(record, options);
    }

    private CacheRecord? FindUsable(Dictionary<Digest, HashSet<CacheRecord>> index, Digest key, RefOptions options) =>
        index.TryGetValue(key, out var records)
            ? records.FirstOrDefault(r => r is { Dead: false, EqualMutable: null } && MissingHandlers(r, options.Handlers).Count == 0)
            : null;

    // Needs the lock; whether the reference was not known.
    private bool AddImageRef(CacheRecord record, string? imageRef)
    {
        if (string.IsNullOrEmpty(imageRef) || record.ImageRefs.Contains(imageRef))
            return false;
        record.ImageRefs.Add(imageRef);
        Table.Update(record);
        return true;
    }

    private ValueTask AddSourcesAsync(CacheRecord record, CancellationToken cancellationToken)
    {
        Dictionary<string, string> sources;
        lock (_gate)
            sources = Sources(record);
        return _links.AddSourcesAsync(record.Blob, sources, cancellationToken);
    }

    /// <summary>Blobs that are not here and that nobody can provide, in the record and everything below it.</summary>
    private List<Digest> MissingHandlers(CacheRecord record, IReadOnlyDictionary<Digest, DescriptorHandler> handlers)
    {
        var missing = new List<Digest>();
        var seen = new HashSet<CacheRecord>();
        var open = new Stack<CacheRecord>([record]);
        while (open.TryPop(out var next))
        {
            if (!seen.Add(next))
                continue;
            if (next is { BlobOnly: true, Blob.IsEmpty: false } && !handlers.ContainsKey(next.Blob) && !_content.Contains(next.Blob))
                missing.Add(next.Blob);
            foreach (var parent in next.Parents)
                open.Push(parent);
        }

        return missing;
    }
}
