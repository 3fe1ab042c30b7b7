using System.Collections.Concurrent;
using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

// Layers of imported caches that could not be had when they were needed.
public sealed partial class RefStore
{
    private readonly ConcurrentDictionary<Digest, bool> _lost = [];

    /// <inheritdoc/>
    public bool HasLostLayers(string id)
    {
        if (_lost.IsEmpty)
            return false;
        lock (_gate)
        {
            if (!_records.TryGetValue(id, out var record))
                return false;
            var seen = new HashSet<CacheRecord>();
            var open = new Stack<CacheRecord>([record]);
            while (open.TryPop(out var next))
            {
                if (!seen.Add(next))
                    continue;
                if (next.BlobOnly && _lost.ContainsKey(next.Blob))
                    return true;
                foreach (var parent in next.Parents)
                    open.Push(parent);
            }
            return false;
        }
    }

    /// <summary>Runs what needs a layer; a failure of one that can be made anew is told as such.</summary>
    private async Task OrLostAsync(
        Digest blob, RefOptions options, Func<Task> work, Func<Exception, bool> isFaultOfLayer, CancellationToken cancellationToken)
    {
        try
        {
            await work();
            _lost.TryRemove(blob, out _);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested && isFaultOfLayer(e)
            && options.Handlers.TryGetValue(blob, out var handler) && handler.Lost is not null)
        {
            _lost[blob] = true;
            handler.Lost(blob, e);
            if (e is LayerLostException)
                throw;
            throw new LayerLostException(blob, e);
        }
    }
}
