using BuildKit.Oci;
using BuildKit.Oci.Assembly;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters.Attestations;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Makes the image of one export: layers, configs, manifests and index (spec 07 §7).</summary>
internal sealed class ImageCommitter
{
    private readonly ExporterServices _services;
    private readonly ImageExportOptions _options;
    private readonly ExportRequest _request;
    private readonly IReadOnlyDictionary<string, byte[]> _metadata;
    private readonly AnnotationSet _annotations;
    private readonly ImageDocuments _documents;
    private readonly ImageBlobs _blobs;
    private Rfc3339Time? _epoch;
    private bool _oci;

    private ImageCommitter(ExporterServices services, ImageExportOptions options, ExportRequest request, IReadOnlyDictionary<string, byte[]> metadata)
    {
        (_services, _options, _request, _metadata) = (services, options, request, metadata);
        _annotations = new AnnotationSet();
        _annotations.Merge(options.Annotations);
        _ = _annotations.AddFrom(metadata
            .Where(entry => entry.Key.StartsWith("annotation", StringComparison.Ordinal))
            .Select(entry => KeyValuePair.Create(entry.Key, System.Text.Encoding.UTF8.GetString(entry.Value))));
        _documents = new ImageDocuments(services.Content, services.Leases);
        _blobs = new ImageBlobs(services.Content);
        _epoch = options.Epoch;
        _oci = options.OciTypes;
    }

    private IProgressWriter Progress => _request.Context.Progress;

    private ExportSource Source => _request.Source;

    /// <summary>The metadata of a result with that of the attributes over it.</summary>
    public static IReadOnlyDictionary<string, byte[]> Metadata(ExportSource source, ImageExportOptions options)
    {
        var metadata = new Dictionary<string, byte[]>(source.Metadata, StringComparer.Ordinal);
        foreach (var (key, value) in options.Metadata)
            metadata[key] = System.Text.Encoding.UTF8.GetBytes(value);
        return metadata;
    }

    /// <summary>Makes the image and writes its documents to the content store. The caller disposes the result.</summary>
    public static async Task<CommittedImage> CommitAsync(
        ExporterServices services, ImageExportOptions options, ExportRequest request, IReadOnlyDictionary<string, byte[]> metadata, CancellationToken cancellationToken)
    {
        var committer = new ImageCommitter(services, options, request, metadata);
        try
        {
            return await committer.CommitAsync(cancellationToken);
        }
        catch
        {
            committer._documents.Dispose();
            throw;
        }
    }

    private async Task<CommittedImage> CommitAsync(CancellationToken cancellationToken)
    {
        var isMap = Source.Refs.Count > 0;
        var platforms = ResultPlatforms.Resolve(_metadata, isMap, _services.DefaultPlatform);
        var isIndex = isMap || platforms.Any(platform => Source.Attestations.TryGetValue(platform.Id, out var attestations)
            && attestations.Any(attestation => _options.InlineAttestations || !attestation.IsInlineOnly()));
        _epoch ??= ExporterAttributes.Epoch(_metadata);
        foreach (var id in _annotations.PlatformIds)
        {
            if (!Source.TryFindRef(id, out _))
                throw new InvalidOperationException($"invalid annotation: no platform {id} found in source");
        }
        _oci |= _annotations.RequireOci;
        return isIndex ? await CommitIndexAsync(platforms, cancellationToken) : await CommitSingleAsync(platforms, cancellationToken);
    }

    private async Task<CommittedImage> CommitSingleAsync(IReadOnlyList<ResultPlatform> platforms, CancellationToken cancellationToken)
    {
        if (platforms is not [var platform])
            throw new InvalidOperationException("cannot export multiple platforms without multi-platform enabled");
        _ = Source.TryFindRef(platform.Id, out var reference);
        var layers = (await ExportLayersAsync([reference], cancellationToken))[0];
        var rewritten = await RewriteAsync(layers, platform, cancellationToken);
        if (_annotations.HasIndexAnnotations)
            throw new InvalidOperationException("index annotations not supported for single platform export");
        var inline = await InlineCacheAsync([(Source.IsKeyed ? platform.Id : "", layers)], cancellationToken);
        var image = await CommitImageAsync(platform, reference, rewritten, annotationPlatform: null, inline[0], cancellationToken);
        return new CommittedImage(image.Manifest with { Platform = platform.Platform }, image.Config, _epoch, _blobs, _documents);
    }

    private async Task<CommittedImage> CommitIndexAsync(IReadOnlyList<ResultPlatform> platforms, CancellationToken cancellationToken)
    {
        _oci |= Source.Attestations.Count > 0;
        var refs = platforms.Select(platform => Source.TryFindRef(platform.Id, out var found)
            ? found
            : throw new InvalidOperationException($"failed to find ref for ID {platform.Id}")).ToList();
        var layers = await ExportLayersAsync(refs, cancellationToken);
        var inline = await InlineCacheAsync(
            [.. platforms.Select((platform, i) => (Source.IsKeyed || Source.Refs.Count > 0 ? platform.Id : "", layers[i]))], cancellationToken);
        var images = new List<Descriptor>();
        var attestations = new List<Descriptor>();
        for (var i = 0; i < platforms.Count; i++)
        {
            var platform = platforms[i];
            var rewritten = await RewriteAsync(layers[i], platform, cancellationToken);
            var image = await CommitImageAsync(platform, refs[i], rewritten, platform.Platform, inline[i], cancellationToken);
            var descriptor = image.Manifest with { Platform = platform.Platform };
            images.Add(descriptor);
            if (Source.Attestations.TryGetValue(platform.Id, out var own))
                attestations.Add(await CommitAttestationsAsync(own, platform, descriptor, refs[i], rewritten, cancellationToken));
        }
        var index = ManifestAssembly.Index(_oci, images, attestations, _annotations.For(AnnotationTarget.Index));
        await Progress.StepAsync(
            $"exporting manifest list {index.Descriptor.Digest}",
            () => _documents.WriteAsync(index, images.Concat(attestations).Select(child => child.Digest), cancellationToken));
        var root = index.Descriptor with { Annotations = _annotations.For(AnnotationTarget.IndexDescriptor) };
        return new CommittedImage(root, null, _epoch, _blobs, _documents);
    }

    private async Task<IReadOnlyList<RemoteLayers>> ExportLayersAsync(IReadOnlyList<IImmutableRef?> refs, CancellationToken cancellationToken)
    {
        var layers = new RemoteLayers[refs.Count];
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await Progress.StepAsync("exporting layers", () => ParallelTasks.RunAsync(Enumerable.Range(0, refs.Count).Select<int, Func<Task>>(i => async () =>
        {
            layers[i] = refs[i] is { } reference
                ? (await reference.GetRemotesAsync(createIfNeeded: true, _options.Compression, all: false, failing.Token))[0]
                : new RemoteLayers([], _services.Content);
        }), failing));
        foreach (var one in layers)
            _blobs.Add(one);
        return layers;
    }

    private async Task<IReadOnlyList<byte[]?>> InlineCacheAsync(IReadOnlyList<(string Key, RemoteLayers Layers)> results, CancellationToken cancellationToken)
    {
        var caches = new byte[]?[results.Count];
        if (_request.InlineCache is not { } make)
            return caches;
        await Progress.StepAsync("preparing layers for inline cache", async () =>
        {
            for (var i = 0; i < caches.Length; i++)
                caches[i] = await make(results[i].Key, results[i].Layers, _options.Compression, cancellationToken);
        });
        return caches;
    }

    private async Task<RemoteLayers> RewriteAsync(RemoteLayers layers, ResultPlatform platform, CancellationToken cancellationToken)
    {
        if (!_options.RewriteTimestamp)
            return layers;
        if (_epoch is not { } epoch)
        {
            Progress.Write(new ProgressLog(
                default, 2, "rewrite-timestamp is specified, but no source-date-epoch was found\n"u8.ToArray(), _services.Time.GetUtcNow()));
            return layers;
        }
        var rewriter = new LayerTimestamps(_services.Content, _documents, _options.Compression, epoch);
        return await rewriter.RewriteAsync(layers, BaseConfig(platform)?.DiffIds ?? [], Progress, cancellationToken);
    }

    private ImageConfig? BaseConfig(ResultPlatform platform)
    {
        if (_metadata.ForPlatform(ResultPlatforms.BaseConfigKey, platform.Id) is not { Length: > 0 } json)
            return null;
        try
        {
            return ImageConfig.Parse(json);
        }
        catch (FormatException e)
        {
            throw new FormatException($"failed to unmarshal base image config: {e.Message}", e);
        }
    }

    private async Task<(Descriptor Manifest, Digest Config)> CommitImageAsync(
        ResultPlatform platform, IImmutableRef? reference, RemoteLayers layers, Platform? annotationPlatform, byte[]? inlineCache, CancellationToken cancellationToken)
    {
        var (json, config) = ImageConfigPatch.Check(_metadata.ForPlatform(ResultPlatforms.ConfigKey, platform.Id) ?? [], _services.DefaultPlatform);
        var history = HistoryNormalizer.Normalize(config.History, layers.Descriptors.Count, await OriginsAsync(reference, layers.Descriptors.Count));
        var diffIds = layers.Descriptors.Select(DiffIdOf).ToList();
        json = ImageConfigPatch.Apply(json, diffIds, history, _epoch, BaseConfig(platform)?.History, inlineCache);
        var (manifest, patched) = ManifestAssembly.Image(
            _oci, json, layers.Descriptors, _annotations.For(AnnotationTarget.Manifest, annotationPlatform));
        await Progress.StepAsync(
            $"exporting manifest {manifest.Descriptor.Digest}",
            () => _documents.WriteAsync(manifest, [patched.Descriptor.Digest, .. layers.Descriptors.Select(layer => layer.Digest)], cancellationToken));
        await Progress.StepAsync($"exporting config {patched.Descriptor.Digest}", () => _documents.WriteAsync(patched, [], cancellationToken));
        var descriptor = manifest.Descriptor with { Annotations = _annotations.For(AnnotationTarget.ManifestDescriptor, annotationPlatform) };
        return (descriptor, patched.Descriptor.Digest);
    }

    private async Task<Descriptor> CommitAttestationsAsync(
        IReadOnlyList<ExportAttestation> attestations, ResultPlatform platform, Descriptor image, IImmutableRef? tree, RemoteLayers layers, CancellationToken cancellationToken)
    {
        var statements = await ImageStatements.MakeAsync(_services, attestations, _options.Name, platform.Platform, image, tree, layers, cancellationToken);
        var (manifest, config, blobs) = ManifestAssembly.Attestation(image, statements, _options.OciArtifact);
        await Progress.StepAsync($"exporting attestation manifest {manifest.Descriptor.Digest}", async () =>
        {
            foreach (var blob in blobs)
                await _documents.WriteAsync(blob, [], cancellationToken);
            await _documents.WriteAsync(config, [], cancellationToken);
            await _documents.WriteAsync(
                manifest, [config.Descriptor.Digest, .. blobs.Select(blob => blob.Descriptor.Digest)], cancellationToken);
        });
        return manifest.Descriptor;
    }

    private static Digest DiffIdOf(Descriptor layer) =>
        layer.Annotations.TryGetValue(ManifestAssembly.UncompressedAnnotation, out var text) && Digest.TryParse(text, out var digest)
            ? digest
            : throw new InvalidDataException($"missing diffID for {layer.Digest}");

    // What is known of the topmost records, one for each layer.
    private static async Task<IReadOnlyList<LayerOrigin>> OriginsAsync(IImmutableRef? reference, int count)
    {
        if (reference is null)
            return [];
        var chain = reference.LayerChain();
        try
        {
            return [.. chain.TakeLast(count).Select(layer =>
                new LayerOrigin(Rfc3339Time.From(layer.Metadata.CreatedAt.ToUniversalTime()), layer.Metadata.Description))];
        }
        finally
        {
            foreach (var layer in chain)
                await layer.DisposeAsync();
        }
    }
}
