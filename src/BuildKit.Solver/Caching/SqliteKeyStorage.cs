using BuildKit.Database;
using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// The key storage of a daemon: a SQLite file that survives being killed. Additions are queued and share
/// transactions; until they are committed they are answered from memory, so that every call sees what was stored
/// before it. A kill loses at most the last moments, never the file.
/// </summary>
public sealed class SqliteKeyStorage : ICacheKeyStorage, IDisposable
{
    private const string InsertKey = "INSERT OR IGNORE INTO cache_key (id) VALUES (?1)";

    private static readonly DatabaseSchema Schema = new(
        """
        CREATE TABLE cache_key (k INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
        CREATE TABLE cache_link (
          source INTEGER NOT NULL, digest TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
          selector TEXT NOT NULL, target INTEGER NOT NULL,
          PRIMARY KEY (source, digest, input, output, selector, target)) WITHOUT ROWID;
        CREATE INDEX cache_link_target ON cache_link (target, source);
        CREATE TABLE cache_result (
          k INTEGER NOT NULL, result TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (k, result)) WITHOUT ROWID;
        CREATE INDEX cache_result_result ON cache_result (result);
        """);

    private readonly SqliteDatabase _database;
    private readonly Lock _gate = new();
    private InMemoryKeyStorage _uncommitted = new();
    private int _queued;

    private SqliteKeyStorage(SqliteDatabase database) => _database = database;

    /// <summary>Opens or makes the file. A damaged one is put aside and an empty one takes its place.</summary>
    public static SqliteKeyStorage Open(string path)
    {
        var database = SqliteDatabase.Open(path, Schema);
        // Earlier versions stored the keys of sessions, which nobody can ask for any more.
        database.Write(static db =>
        {
            var sessions = db.Query("SELECT k FROM cache_key WHERE id >= 'random:' AND id < 'random;'", static row => row.Int64(0));
            foreach (var key in sessions)
            {
                db.Execute("DELETE FROM cache_result WHERE k=?1", key);
                db.Execute("DELETE FROM cache_link WHERE source=?1", key);
            }
            RemoveUnused(db, sessions);
        });
        return new SqliteKeyStorage(database);
    }

    /// <summary>How many keys, links and results are committed.</summary>
    public (long Keys, long Links, long Results) Count() => _database.Read(static db => (
        db.QueryInt64("SELECT COUNT(*) FROM cache_key"), db.QueryInt64("SELECT COUNT(*) FROM cache_link"), db.QueryInt64("SELECT COUNT(*) FROM cache_result")));

    /// <inheritdoc/>
    public bool Exists(string id) =>
        Uncommitted.Exists(id) || _database.Read(db => db.QueryInt64("SELECT COUNT(*) FROM cache_key WHERE id=?1", id)) > 0;

    /// <inheritdoc/>
    public IReadOnlyList<CacheResultInfo> GetResults(string id)
    {
        var pending = Uncommitted.GetResults(id);
        var stored = _database.Read(db => db.Query(
            "SELECT r.result, r.created FROM cache_result r JOIN cache_key c ON c.k=r.k WHERE c.id=?1",
            static row => new CacheResultInfo(row.String(0), new DateTimeOffset(row.Int64(1), TimeSpan.Zero)), id));
        return pending.Count == 0 ? stored : [.. pending, .. stored.Where(s => pending.All(p => p.Id != s.Id))];
    }

    /// <inheritdoc/>
    public CacheResultInfo? GetResult(string id, string resultId)
    {
        foreach (var result in GetResults(id))
        {
            if (result.Id == resultId)
                return result;
        }
        return null;
    }

    /// <inheritdoc/>
    public void AddResult(string id, CacheResultInfo result) => Enqueue(
        pending => pending.AddResult(id, result),
        db =>
        {
            db.Execute(InsertKey, id);
            db.Execute(
                "INSERT OR REPLACE INTO cache_result SELECT k, ?2, ?3 FROM cache_key WHERE id=?1", id, result.Id, result.CreatedAt.UtcTicks);
        });

    /// <inheritdoc/>
    public void AddLink(string id, CacheLink link, string target) => Enqueue(
        pending => pending.AddLink(id, link, target),
        db =>
        {
            db.Execute(InsertKey, id);
            db.Execute(InsertKey, target);
            db.Execute(
                """
                INSERT OR IGNORE INTO cache_link
                SELECT s.k, ?3, ?4, ?5, ?6, t.k FROM cache_key s, cache_key t WHERE s.id=?1 AND t.id=?2
                """,
                id, target, link.Digest.ToString(), link.Input, link.Output, link.Selector.ToString());
        });

    /// <inheritdoc/>
    public IReadOnlyList<string> GetLinks(string id, CacheLink link)
    {
        var pending = Uncommitted.GetLinks(id, link);
        var stored = _database.Read(db => db.Query(
            """
            SELECT t.id FROM cache_key s JOIN cache_link l ON l.source=s.k JOIN cache_key t ON t.k=l.target
            WHERE s.id=?1 AND l.digest=?2 AND l.input=?3 AND l.output=?4 AND l.selector=?5
            """,
            static row => row.String(0), id, link.Digest.ToString(), link.Input, link.Output, link.Selector.ToString()));
        return pending.Count == 0 ? stored : [.. pending.Union(stored, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public bool HasLink(string id, CacheLink link, string target) =>
        Uncommitted.HasLink(id, link, target) || _database.Read(db => db.QueryInt64(
            """
            SELECT COUNT(*) FROM cache_key s JOIN cache_link l ON l.source=s.k JOIN cache_key t ON t.k=l.target
            WHERE s.id=?1 AND l.digest=?2 AND l.input=?3 AND l.output=?4 AND l.selector=?5 AND t.id=?6
            """,
            id, link.Digest.ToString(), link.Input, link.Output, link.Selector.ToString(), target)) > 0;

    /// <inheritdoc/>
    public IReadOnlyList<CacheBacklink> GetBacklinks(string id)
    {
        var pending = Uncommitted.GetBacklinks(id);
        var stored = _database.Read(db => db.Query(
            """
            SELECT s.id, l.digest, l.input, l.output, l.selector
            FROM cache_key t JOIN cache_link l ON l.target=t.k JOIN cache_key s ON s.k=l.source WHERE t.id=?1
            """,
            static row => new CacheBacklink(
                row.String(0),
                new CacheLink((int)row.Int64(2), 0, CacheKey.RecordDigest(Digest.Unchecked(row.String(1)), (int)row.Int64(3)), Selector(row.String(4)))),
            id));
        return pending.Count == 0 ? stored : [.. pending.Union(stored)];
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetKeysOfResult(string resultId)
    {
        var pending = Uncommitted.GetKeysOfResult(resultId);
        var stored = _database.Read(db => db.Query(
            "SELECT c.id FROM cache_result r JOIN cache_key c ON c.k=r.k WHERE r.result=?1", static row => row.String(0), resultId));
        return pending.Count == 0 ? stored : [.. pending.Union(stored, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetResultIds()
    {
        var pending = Uncommitted.GetResultIds();
        var stored = _database.Read(db => db.Query("SELECT DISTINCT result FROM cache_result", static row => row.String(0)));
        return pending.Count == 0 ? stored : [.. pending.Union(stored, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public void Release(string resultId)
    {
        lock (_gate)
        {
            _database.Write(db =>
            {
                var keys = db.Query("SELECT k FROM cache_result WHERE result=?1", static row => row.Int64(0), resultId);
                db.Execute("DELETE FROM cache_result WHERE result=?1", resultId);
                RemoveUnused(db, keys);
            });
            // Everything queued before was committed with it.
            _uncommitted = new InMemoryKeyStorage();
        }
    }

    /// <inheritdoc/>
    public void DropUnused()
    {
        var unused = _database.Read(static db => db.Query(
            """
            SELECT k FROM cache_key c
            WHERE NOT EXISTS (SELECT 1 FROM cache_result r WHERE r.k=c.k) AND NOT EXISTS (SELECT 1 FROM cache_link l WHERE l.source=c.k)
            """,
            static row => row.Int64(0)));
        if (unused.Count == 0)
            return;
        lock (_gate)
        {
            // Looked at again with everything that was queued since.
            _database.Write(db => RemoveUnused(db, unused));
            _uncommitted = new InMemoryKeyStorage();
        }
    }

    private static void RemoveUnused(SqliteConnection db, IEnumerable<long> keys)
    {
        var examine = new Stack<long>(keys);
        while (examine.TryPop(out var key))
        {
            if (db.QueryInt64("SELECT EXISTS(SELECT 1 FROM cache_result WHERE k=?1) OR EXISTS(SELECT 1 FROM cache_link WHERE source=?1)", key) != 0)
                continue;
            foreach (var below in db.Query("SELECT DISTINCT source FROM cache_link WHERE target=?1", static row => row.Int64(0), key))
                examine.Push(below);
            db.Execute("DELETE FROM cache_link WHERE target=?1", key);
            db.Execute("DELETE FROM cache_key WHERE k=?1", key);
        }
    }

    /// <summary>Commits everything stored so far.</summary>
    public void Flush() => _database.Flush();

    /// <summary>Commits what is queued and closes the file.</summary>
    public void Dispose() => _database.Dispose();

    private InMemoryKeyStorage Uncommitted
    {
        get
        {
            lock (_gate)
                return _uncommitted;
        }
    }

    private static Digest Selector(string text) => text.Length == 0 ? default : Digest.Unchecked(text);

    private void Enqueue(Action<InMemoryKeyStorage> remember, Action<SqliteConnection> write)
    {
        lock (_gate)
        {
            remember(_uncommitted);
            _queued++;
            _ = CommitAsync(write);
        }
    }

    private async Task CommitAsync(Action<SqliteConnection> write)
    {
        try
        {
            await _database.WriteAsync(write).ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
            {
                if (--_queued == 0)
                    _uncommitted = new InMemoryKeyStorage();
            }
        }
    }
}
