using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops.Exec;

namespace BuildKit.Daemon.Solving;

/// <summary>Turns the directories of cache mounts into layers of an exported cache, and such layers into records that new
/// directories start from.</summary>
/// <param name="mounts">The daemon's cache mounts.</param>
/// <param name="refs">Records and blobs.</param>
/// <param name="temporaryDirectory">Where directories are mounted for reading.</param>
public sealed class CacheMountTransfer(CacheMounts mounts, IRefStore refs, string temporaryDirectory)
{
    /// <summary>Writes the content of a mount as a layer; null when there is no such mount, or a step has it for itself. The same
    /// content gives the same layer. The blob stays in the content store for as long as blobs do that nothing owns.</summary>
    public async Task<CacheMountLayer?> CaptureAsync(string id, CompressionOptions compression, CancellationToken cancellationToken)
    {
        await using var handle = await mounts.TryShareAsync(id, cancellationToken);
        if (handle is null)
            return null;
        var mountable = await handle.Ref.MountAsync(readOnly: true, cancellationToken);
        await using var lease = await mountable.AcquireAsync(cancellationToken);
        await using var ingest = await refs.Content.OpenWriterAsync($"cache-mount-{Guid.NewGuid():N}", cancellationToken);
        try
        {
            await using var writer = new LayerBlobWriter(ingest, compression);
            // What the directory started from is part of it, and its bytes do not depend on what it started from.
            await LayerDiff.WriteAsync(null, lease.Mounts, writer, new LayerDiffOptions { ForceWalk = true, TempDirectory = temporaryDirectory }, cancellationToken);
            var made = await writer.CompleteAsync(cancellationToken);
            var digest = await ingest.CommitAsync(made.Size, null, made.Annotations, cancellationToken);
            return CacheMountLayer.Of(id, (made with { Digest = digest }).ToDescriptor(), refs.Content);
        }
        catch
        {
            await ingest.AbortAsync();
            throw;
        }
    }

    /// <summary>The unpacked record of a mount's layer; owned by the caller.</summary>
    /// <param name="mount">The mount.</param>
    /// <param name="sessionBound">Its bytes come from the client's session.</param>
    /// <param name="from">Where it comes from, for people.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    public async Task<IImmutableRef> OpenAsync(CacheMountLayer mount, bool sessionBound, string from, CancellationToken cancellationToken)
    {
        var layer = mount.Layer;
        var options = new RefOptions
        {
            Handlers = new Dictionary<Oci.Digest, DescriptorHandler>
            {
                [layer.Descriptor.Digest] = new DescriptorHandler { Provider = layer.Provider, Annotations = layer.Descriptor.Annotations, SessionBound = sessionBound },
            },
            Description = $"cache mount {mount.Mount.Id} from {from}",
        };
        var reference = await refs.GetByBlobAsync(layer.Descriptor, null, options, cancellationToken);
        try
        {
            await reference.ExtractAsync(cancellationToken);
            return reference;
        }
        catch
        {
            await reference.DisposeAsync();
            throw;
        }
    }
}
