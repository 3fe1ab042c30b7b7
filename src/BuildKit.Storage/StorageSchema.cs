using BuildKit.Database;

namespace BuildKit.Storage;

/// <summary>The tables of the storage database: blobs, snapshots, records, leases. Times are Unix nanoseconds.</summary>
public static class StorageSchema
{
    /// <summary>The schema <see cref="StorageRoot"/> opens.</summary>
    public static DatabaseSchema Current { get; } = new(
        """
        CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE blob_labels (digest TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE, key TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (digest, key)) WITHOUT ROWID;
        CREATE TABLE leases (id TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (id, digest)) WITHOUT ROWID;

        CREATE TABLE snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, parent INTEGER REFERENCES snapshots,
            kind INTEGER NOT NULL, bytes INTEGER, inodes INTEGER);
        CREATE INDEX snapshots_by_parent ON snapshots (parent);
        CREATE TABLE snapshot_labels (id INTEGER NOT NULL REFERENCES snapshots ON DELETE CASCADE, key TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (id, key)) WITHOUT ROWID;

        CREATE TABLE records (id TEXT PRIMARY KEY, committed INTEGER NOT NULL,
            snapshot TEXT NOT NULL, equal_mutable TEXT, retain INTEGER NOT NULL DEFAULT 0, blob_only INTEGER NOT NULL DEFAULT 0,
            size INTEGER NOT NULL DEFAULT -1, description TEXT NOT NULL DEFAULT '', type TEXT NOT NULL DEFAULT '',
            created INTEGER NOT NULL, last_used INTEGER, usage_count INTEGER NOT NULL DEFAULT 0,
            diff_id TEXT, blob TEXT, chain_id TEXT, blob_chain_id TEXT, media_type TEXT, blob_size INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
        CREATE TABLE record_parents (id TEXT NOT NULL REFERENCES records ON DELETE CASCADE, role INTEGER NOT NULL, position INTEGER NOT NULL,
            parent TEXT NOT NULL, PRIMARY KEY (id, role, position)) WITHOUT ROWID;
        CREATE TABLE record_lists (id TEXT NOT NULL REFERENCES records ON DELETE CASCADE, list INTEGER NOT NULL, value TEXT NOT NULL, position INTEGER NOT NULL,
            PRIMARY KEY (id, list, value)) WITHOUT ROWID;
        CREATE TABLE record_values (id TEXT NOT NULL REFERENCES records ON DELETE CASCADE, key TEXT NOT NULL, value TEXT NOT NULL, search TEXT,
            PRIMARY KEY (id, key)) WITHOUT ROWID;
        CREATE INDEX record_values_by_search ON record_values (search) WHERE search IS NOT NULL;
        CREATE TABLE record_blobs (id TEXT NOT NULL REFERENCES records ON DELETE CASCADE, key TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY (id, key)) WITHOUT ROWID;
        """);

    internal static long ToNanoseconds(DateTimeOffset time) => (time.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) * TimeSpan.NanosecondsPerTick;

    internal static DateTimeOffset FromNanoseconds(long nanoseconds) => DateTimeOffset.UnixEpoch.AddTicks(nanoseconds / TimeSpan.NanosecondsPerTick);
}
