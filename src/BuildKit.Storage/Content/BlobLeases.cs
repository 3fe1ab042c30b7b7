using BuildKit.Database;
using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>
/// What keeps blobs that no record owns (manifests, configs, build history): named leases, which survive restarts,
/// and temporary ones, which do not. A blob that is kept also keeps what its <c>containerd.io/gc.ref.content</c>
/// labels name.
/// </summary>
public sealed class BlobLeases(SqliteDatabase database)
{
    private readonly Dictionary<Digest, int> _temporary = [];

    /// <summary>Adds blobs to a named lease, making it when there is none; durable when it returns.</summary>
    public void Hold(string lease, params IReadOnlyList<Digest> digests) => database.Write(c =>
    {
        foreach (var digest in digests)
            c.Execute("INSERT INTO leases VALUES (?1, ?2) ON CONFLICT DO NOTHING", lease, digest.ToString());
    });

    /// <summary>Drops a named lease; its blobs go at the next collection unless something else keeps them.</summary>
    public void Release(string lease) => database.Write(c => c.Execute("DELETE FROM leases WHERE id = ?1", lease));

    /// <summary>Names of the leases that start with a prefix.</summary>
    public IReadOnlyList<string> List(string prefix = "") => database.Read(c =>
        c.Query("SELECT DISTINCT id FROM leases ORDER BY id", static row => row.String(0))).FindAll(id => id.StartsWith(prefix, StringComparison.Ordinal));

    /// <summary>Keeps blobs, here already or not, until the result is disposed.</summary>
    public IDisposable HoldTemporarily(params IReadOnlyList<Digest> digests)
    {
        lock (_temporary)
        {
            foreach (var digest in digests)
                _temporary[digest] = _temporary.GetValueOrDefault(digest) + 1;
        }

        return new TemporaryLease(this, digests);
    }

    /// <summary>Runs a transaction with what is leased; nothing is leased while it runs.</summary>
    internal T Exclude<T>(Func<SqliteConnection, IEnumerable<Digest>, T> transaction)
    {
        lock (_temporary)
        {
            return database.Write(c => transaction(
                c, c.Query("SELECT DISTINCT digest FROM leases", static row => Digest.Unchecked(row.String(0))).Concat(_temporary.Keys)));
        }
    }

    private void Drop(IReadOnlyList<Digest> digests)
    {
        lock (_temporary)
        {
            foreach (var digest in digests)
            {
                if (--_temporary[digest] == 0)
                    _temporary.Remove(digest);
            }
        }
    }

    private sealed class TemporaryLease(BlobLeases leases, IReadOnlyList<Digest> digests) : IDisposable
    {
        private int _disposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
                leases.Drop(digests);
        }
    }
}
