using System.Globalization;
using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

// Layers of a record as blobs (spec 06 §4.2, §1.4 "exported descriptor").
public sealed partial class RefStore
{
    private readonly SingleFlight<string, bool> _blobMaking = new();
    private readonly SingleFlight<(string Record, CompressionType Type), Descriptor> _converting = new();

    internal async Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(
        ImmutableRef reference, bool createIfNeeded, CompressionOptions compression, bool all, CancellationToken cancellationToken)
    {
        var record = reference.Record;
        lock (_gate)
        {
            if (!createIfNeeded && record.EqualMutable is not null)
                return [];
        }

        await FinalizeAsync(record, cancellationToken);
        var layers = record.LayerWalk();
        if (!createIfNeeded && layers.Exists(static layer => layer.Blob.IsEmpty))
            return [];
        using (var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
        {
            await AllOrFirstFailureAsync(
                layers.ConvertAll(layer => EnsureBlobAsync(layer, reference.Options, compression, failing.Token)), failing);
        }

        lock (_gate)
            ComputeChain(record);

        var descriptors = new List<Descriptor>();
        foreach (var layer in layers)
            descriptors.Add(await ExportAsync(layer, reference.Options, compression, cancellationToken));
        var provider = new LayerProvider(this, layers, reference.Options);
        var result = new List<RemoteLayers> { new(descriptors, provider) };
        if (all && !compression.Force && descriptors.Count > 0)
            result.AddRange(await VariantsAsync(descriptors, compression.Type, provider, cancellationToken));
        return result;
    }

    // Every combination of the variants of the lower layers, below the top blob in the wanted form.
    private async Task<IEnumerable<RemoteLayers>> VariantsAsync(
        List<Descriptor> descriptors, CompressionType wanted, LayerProvider provider, CancellationToken cancellationToken)
    {
        if (await FindVariantAsync(descriptors[^1].Digest, wanted, cancellationToken) is not { } top)
            return [];
        List<List<Descriptor>> chains = [[]];
        foreach (var descriptor in descriptors.SkipLast(1))
        {
            var variants = await _links.VariantsAsync(descriptor.Digest, cancellationToken);
            IReadOnlyList<Descriptor> choices = variants.Count > 0 ? variants : [descriptor];
            chains = choices.SelectMany(choice => chains.Select(chain => new List<Descriptor>(chain) { choice })).ToList();
        }

        return chains.Select(chain => new RemoteLayers([.. chain, top], provider));
    }

    private async Task EnsureBlobAsync(CacheRecord layer, RefOptions options, CompressionOptions compression, CancellationToken cancellationToken)
    {
        if (MustMakeBlob(layer, options))
            await _blobMaking.RunAsync(layer.Id, cancel => MakeBlobAsync(layer, options, compression, cancel), cancellationToken);
    }

    // A blob that got lost is fetched again by those who can, and made again from the tree by those who cannot.
    private bool MustMakeBlob(CacheRecord layer, RefOptions options) =>
        layer.Blob.IsEmpty || (!layer.BlobOnly && !options.Handlers.ContainsKey(layer.Blob) && !_content.Contains(layer.Blob));

    private async Task<bool> MakeBlobAsync(CacheRecord layer, RefOptions options, CompressionOptions compression, CancellationToken cancellationToken)
    {
        await using var kept = Hold(layer, RefOptions.Default, countsUse: false);
        if (!MustMakeBlob(layer, options))
            return true;
        await using var lower = await MountsOfAsync(layer.IsDiff ? layer.LowerDiffParent : layer.Parent, options, cancellationToken);
        await using var upper = await MountsOfAsync(layer.IsDiff ? layer.UpperDiffParent : layer, options, cancellationToken);

        await _compressions.WaitAsync(cancellationToken);
        try
        {
            await WriteBlobAsync(layer, lower?.Mounts ?? [], upper?.Mounts ?? [], compression, cancellationToken);
        }
        finally
        {
            _compressions.Release();
        }
        return true;
    }

    private async Task WriteBlobAsync(
        CacheRecord layer, IReadOnlyList<MountSpec> lower, IReadOnlyList<MountSpec> upper, CompressionOptions compression, CancellationToken cancellationToken)
    {
        // tar → digest → compress → digest → file, in one pass.
        await using var writer = await _content.OpenWriterAsync(layer.Id, cancellationToken);
        await writer.TruncateAsync(cancellationToken);
        var made = await _layers.WriteAsync(lower, upper, compression, writer, cancellationToken);
        var size = writer.Offset;
        var labels = _links.LabelsOf(new Descriptor(made.MediaType, default, size) { Annotations = made.Annotations }, made.DiffId);
        var digest = await writer.CommitAsync(null, null, labels, cancellationToken);
        Change(layer, r =>
        {
            // The ids of a lost blob are not those of the new one, nor does it come from where that came from.
            UnindexChain(r);
            r.Chain = default;
            r.ImageRefs.Clear();
            r.Blob = digest;
            r.BlobSize = size;
            r.MediaType = made.MediaType;
            r.DiffId = made.DiffId;
            r.Size = -1;
        });
    }

    private async Task<MountLease?> MountsOfAsync(CacheRecord? record, RefOptions options, CancellationToken cancellationToken)
    {
        if (record is null)
            return null;
        await FinalizeAsync(record, cancellationToken);
        await UnlazyAsync(record, options, topLevel: false, cancellationToken);
        return await AcquireMountsAsync(record, readOnly: true, cancellationToken);
    }

    // Needs the lock. Records below may get their ids here too.
    private ChainIds ComputeChain(CacheRecord record)
    {
        if (!record.Chain.IsEmpty)
            return record.Chain;
        var chain = record.Kind switch
        {
            RecordKind.Merge => record.MergeParents.Skip(1)
                .SelectMany(static parent => parent.LayerWalk())
                .Aggregate(ComputeChain(record.MergeParents[0]), static (ids, layer) => ids.Add(layer.Blob, layer.DiffId)),
            RecordKind.Diff when record.ReusesUpper => ComputeChain(record.UpperDiffParent!),
            RecordKind.Layer => ComputeChain(record.Parent!).Add(record.Blob, record.DiffId),
            _ => ChainIds.OfBase(record.Blob, record.DiffId),
        };
        record.Chain = chain;
        IndexChain(record);
        Table.Update(record);
        return chain;
    }

    private async Task<Descriptor> ExportAsync(CacheRecord layer, RefOptions options, CompressionOptions compression, CancellationToken cancellationToken)
    {
        var stored = await _links.DescribeAsync(layer.Blob, cancellationToken);
        var annotations = stored is not null ? new Dictionary<string, string>(stored.Annotations, StringComparer.Ordinal)
            : options.Handlers.TryGetValue(layer.Blob, out var handler) ? BlobLinks.Kept(handler.Annotations)
            : new Dictionary<string, string>(StringComparer.Ordinal);
        annotations[BlobLinks.Uncompressed] = layer.DiffId.ToString();
        annotations["buildkit/createdat"] = Rfc3339(layer.CreatedAt);
        var sources = stored is not null ? await _links.SourcesAsync(layer.Blob, cancellationToken) : Sources(layer);
        var isForeign = compression.PreferNondistributable && layer.Urls.Count > 0;
        var descriptor = new Descriptor(isForeign ? MediaTypes.ToNondistributable(layer.MediaType) : Distributable(layer.MediaType), layer.Blob, layer.BlobSize)
        {
            Annotations = annotations,
            Urls = isForeign ? [.. layer.Urls] : [],
        };
        if (compression.Force && await _layers.NeedsConversionAsync(descriptor, new ContentSource(_content), compression.Type, cancellationToken))
        {
            var converted = await _converting.RunAsync(
                (layer.Id, compression.Type), cancel => ConvertAsync(layer, options, compression, cancel), cancellationToken);
            annotations = new Dictionary<string, string>(converted.Annotations, StringComparer.Ordinal);
            descriptor = converted with { Annotations = annotations };
            sources = await _links.SourcesAsync(converted.Digest, cancellationToken);
        }

        foreach (var (key, value) in sources)
            annotations[key] = value;
        return descriptor;
    }

    private async Task<Descriptor?> FindVariantAsync(Digest blob, CompressionType wanted, CancellationToken cancellationToken)
    {
        foreach (var variant in await _links.VariantsAsync(blob, cancellationToken))
        {
            if (!await _layers.NeedsConversionAsync(variant, new ContentSource(_content), wanted, cancellationToken))
                return variant;
        }

        return null;
    }

    private async Task<Descriptor> ConvertAsync(CacheRecord layer, RefOptions options, CompressionOptions compression, CancellationToken cancellationToken)
    {
        await using var kept = Hold(layer, RefOptions.Default, countsUse: false);
        if (await FindVariantAsync(layer.Blob, compression.Type, cancellationToken) is { } known)
            return known;
        await FetchBlobAsync(layer, options, cancellationToken);
        var reference = $"convert-from-{layer.Blob}-to-{compression.Type}-{Identifiers.New()}";
        await using var writer = await _content.OpenWriterAsync(reference, cancellationToken);
        try
        {
            MadeLayer made;
            await using (var source = await _content.OpenAsync(layer.Blob, cancellationToken))
                made = await _layers.ConvertAsync(source, layer.MediaType, compression, writer, cancellationToken);
            var descriptor = new Descriptor(made.MediaType, default, writer.Offset) { Annotations = made.Annotations };
            var digest = await writer.CommitAsync(null, null, _links.LabelsOf(descriptor, made.DiffId), cancellationToken);
            await _links.LinkAsync(layer.Blob, digest, cancellationToken);
            Change(layer, static r => r.Size = -1);
            return await _links.DescribeAsync(digest, cancellationToken) ?? throw new BlobNotFoundException(digest);
        }
        catch
        {
            await writer.AbortAsync();
            throw;
        }
    }

    // docker.io/library/alpine:3 → containerd.io/distribution.source.docker.io = library/alpine
    private static Dictionary<string, string> Sources(CacheRecord layer)
    {
        var sources = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var reference in layer.ImageRefs)
        {
            var slash = reference.IndexOf('/', StringComparison.Ordinal);
            if (slash < 0)
                continue;
            var host = reference[..slash].Split(':')[0];
            var repository = reference[(slash + 1)..].Split('@')[0];
            var colon = repository.LastIndexOf(':');
            if (colon > repository.LastIndexOf('/'))
                repository = repository[..colon];
            var key = "containerd.io/distribution.source." + host;
            if (!sources.TryGetValue(key, out var repositories))
                sources[key] = repository;
            else if (!repositories.Split(',').Contains(repository))
                sources[key] = $"{repositories},{repository}";
        }

        return sources;
    }

    private static string Distributable(string mediaType) => mediaType
        .Replace("application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.v1.tar", StringComparison.Ordinal)
        .Replace("application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.diff.tar", StringComparison.Ordinal);

    private static string Rfc3339(DateTimeOffset time)
    {
        var local = time.ToLocalTime();
        var text = local.ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture);
        return text + (local.Offset == TimeSpan.Zero ? "Z" : local.ToString("zzz", CultureInfo.InvariantCulture));
    }

    private sealed class ContentSource(FileContentStore content) : IBlobSource
    {
        public async ValueTask<Stream?> TryOpenAsync(Digest digest, CancellationToken cancellationToken) =>
            content.Contains(digest) ? await content.OpenAsync(digest, cancellationToken) : null;
    }

    /// <summary>The layers of one record; a lazy one is fetched when it is first read.</summary>
    private sealed class LayerProvider(RefStore store, IReadOnlyList<CacheRecord> layers, RefOptions options) : IBlobProvider
    {
        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
        {
            if (layers.FirstOrDefault(layer => layer.Blob == descriptor.Digest) is { } layer)
                await store.FetchBlobAsync(layer, options, cancellationToken);
            return await store._content.OpenAsync(descriptor, offset, cancellationToken);
        }

        public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) =>
            await store._content.StatAsync(descriptor, cancellationToken)
            ?? (layers.FirstOrDefault(layer => layer.Blob == descriptor.Digest) is { } layer && options.Handlers.TryGetValue(layer.Blob, out var handler)
                ? await handler.Provider.StatAsync(descriptor, cancellationToken)
                : null);
    }
}
