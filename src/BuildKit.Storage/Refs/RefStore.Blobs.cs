using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.Storage.Refs;

// Blobs nothing keeps any more.
public sealed partial class RefStore
{
    // Blobs of removed records, with the time of the removal: whoever touched one since then wants it.
    private readonly Dictionary<Digest, long> _orphaned = [];

    // Needs the lock.
    private void Orphan(Digest blob)
    {
        if (blob.IsEmpty)
            return;
        _orphaned[blob] = StorageSchema.ToNanoseconds(_time.GetUtcNow());
        _lost.TryRemove(blob, out _);
    }

    /// <summary>
    /// Deletes blobs nothing keeps: those of removed records at once, others when work in progress had its time; at start
    /// there is no work in progress. Who keeps what is read in the same step in which the rows go: no record and no lease
    /// can take a blob up in between, and one that comes later finds it gone.
    /// </summary>
    private void CollectBlobs(bool atStart)
    {
        var cutOff = atStart ? long.MaxValue : StorageSchema.ToNanoseconds(_time.GetUtcNow() - _options.UnownedBlobGrace);
        _content.Collect(() =>
        {
            lock (_gate)
            {
                var gone = _leases.Exclude((c, leased) =>
                {
                    var references = c.Query(
                            "SELECT digest, value FROM blob_labels WHERE key >= ?1 AND key < ?2",
                            static row => (From: Digest.Unchecked(row.String(0)), To: row.String(1)), BlobLinks.ReferencePrefix, BlobLinks.ReferencePrefix + "~")
                        .Where(static r => Digest.TryParse(r.To, out _))
                        .ToLookup(static r => r.From, static r => Digest.Parse(r.To));
                    var kept = Reached(_records.Values.Where(static r => !r.Blob.IsEmpty).Select(static r => r.Blob).Concat(leased).Select(static d => (d, 0L)), references);
                    var dropped = Reached(_orphaned.Select(static o => (o.Key, o.Value)), references);
                    var doomed = c.Query("SELECT digest, updated FROM blobs", static row => (Digest: Digest.Unchecked(row.String(0)), Updated: row.Int64(1)))
                        .Where(blob => !kept.ContainsKey(blob.Digest) && (blob.Updated <= cutOff || (dropped.TryGetValue(blob.Digest, out var since) && blob.Updated <= since)))
                        .Select(static blob => blob.Digest)
                        .ToList();
                    foreach (var digest in doomed)
                        c.Execute("DELETE FROM blobs WHERE digest = ?1", digest.ToString());
                    return doomed;
                });
                _orphaned.Clear();
                return gone;
            }
        });
    }

    // Everything the roots lead to, each with the latest time among those it is reached from.
    private static Dictionary<Digest, long> Reached(IEnumerable<(Digest Digest, long Time)> roots, ILookup<Digest, Digest> references)
    {
        var reached = new Dictionary<Digest, long>();
        var open = new Queue<(Digest Digest, long Time)>(roots);
        while (open.TryDequeue(out var next))
        {
            if (reached.TryGetValue(next.Digest, out var known) && known >= next.Time)
                continue;
            reached[next.Digest] = next.Time;
            foreach (var to in references[next.Digest])
                open.Enqueue((to, next.Time));
        }

        return reached;
    }
}
