using BuildKit.Database;
using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

/// <summary>Records in the database.</summary>
internal sealed class RecordTable(SqliteDatabase database)
{
    private const int UrlList = 1;
    private const int ImageRefList = 2;

    private enum Role
    {
        Parent = 1,
        Merge = 2,
        Lower = 3,
        Upper = 4,

        // A diff whose two sides are both nothing still is a diff.
        DiffMark = 5,
    }

    public void Insert(CacheRecord record) => database.Write(c =>
    {
        c.Execute("INSERT INTO records (id, committed, snapshot, created) VALUES (?1, ?2, ?3, 0)", record.Id, record.Committed, record.SnapshotId);
        var position = 0;
        if (record.Parent is not null)
            Link(c, record, Role.Parent, 0, record.Parent.Id);
        foreach (var parent in record.MergeParents)
            Link(c, record, Role.Merge, position++, parent.Id);
        if (record.LowerDiffParent is not null)
            Link(c, record, Role.Lower, 0, record.LowerDiffParent.Id);
        if (record.UpperDiffParent is not null)
            Link(c, record, Role.Upper, 0, record.UpperDiffParent.Id);
        if (record.IsDiff)
            Link(c, record, Role.DiffMark, 0, "");
        Update(c, record);
    });

    public void Update(CacheRecord record) => database.Write(c => Update(c, record));

    /// <summary>Usage numbers and sizes: nobody waits for these, so they share transactions.</summary>
    public void UpdateLater(CacheRecord record)
    {
        var (id, size, lastUsed, count) = (record.Id, record.Size, record.LastUsedAt is { } time ? StorageSchema.ToNanoseconds(time) : (long?)null, record.UsageCount);
        _ = database.WriteAsync(c => c.Execute("UPDATE records SET size = ?2, last_used = ?3, usage_count = ?4 WHERE id = ?1", id, size, lastUsed, count));
    }

    public void Delete(params IReadOnlyList<string> ids) => database.Write(c =>
    {
        foreach (var id in ids)
            c.Execute("DELETE FROM records WHERE id = ?1", id);
    });

    /// <summary>A finalized record and the writable one it was made from change in one step.</summary>
    public void ReplaceMutable(CacheRecord record, string mutableId) => database.Write(c =>
    {
        Update(c, record);
        c.Execute("UPDATE OR IGNORE record_blobs SET id = ?1 WHERE id = ?2", record.Id, mutableId);
        c.Execute("DELETE FROM records WHERE id = ?1", mutableId);
    });

    public IReadOnlyList<StoredRecord> Load() => database.Read(c =>
    {
        var parents = c.Query(
            "SELECT id, role, parent FROM record_parents ORDER BY id, role, position",
            static r => (Id: r.String(0), Role: (Role)r.Int64(1), Parent: r.String(2))).ToLookup(r => r.Id, StringComparer.Ordinal);
        var lists = c.Query(
            "SELECT id, list, value FROM record_lists ORDER BY id, list, position",
            static r => (Id: r.String(0), List: r.Int64(1), Value: r.String(2))).ToLookup(r => r.Id, StringComparer.Ordinal);
        return c.Query(
            """
            SELECT id, committed, snapshot, equal_mutable, retain, blob_only, size, description, type, created, last_used, usage_count,
                diff_id, blob, chain_id, blob_chain_id, media_type, blob_size FROM records
            """,
            r =>
            {
                var id = r.String(0);
                List<string> Of(Role role) => parents[id].Where(p => p.Role == role).Select(p => p.Parent).ToList();
                return new StoredRecord(
                    id, r.Bool(1), r.String(2), r.StringOrNull(3),
                    Of(Role.Parent).FirstOrDefault(), Of(Role.Merge), Of(Role.Lower).FirstOrDefault(), Of(Role.Upper).FirstOrDefault(), Of(Role.DiffMark).Count > 0,
                    r.Bool(4), r.Bool(5), r.Int64(6), r.String(7), r.String(8), StorageSchema.FromNanoseconds(r.Int64(9)),
                    r.Int64OrNull(10) is { } used ? StorageSchema.FromNanoseconds(used) : null, r.Int64(11),
                    Digest.Unchecked(r.String(12)), Digest.Unchecked(r.String(13)),
                    new ChainIds(Digest.Unchecked(r.String(14)), Digest.Unchecked(r.String(15))), r.String(16), r.Int64(17),
                    lists[id].Where(l => l.List == UrlList).Select(l => l.Value).ToList(),
                    lists[id].Where(l => l.List == ImageRefList).Select(l => l.Value).ToList());
            });
    });

    public string? GetValue(string id, string key) =>
        database.Read(c => c.QueryString("SELECT value FROM record_values WHERE id = ?1 AND key = ?2", id, key));

    public void SetValue(string id, string key, string? value, string? index) => database.Write(c =>
    {
        if (value is null)
            c.Execute("DELETE FROM record_values WHERE id = ?1 AND key = ?2", id, key);
        else
            c.Execute("INSERT INTO record_values VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET value = ?3, search = ?4", id, key, value, index);
    });

    public byte[]? GetBytes(string id, string key) =>
        database.Read(c => c.QueryFirst("SELECT value FROM record_blobs WHERE id = ?1 AND key = ?2", static r => r.BlobOrNull(0), id, key));

    public void SetBytes(string id, string key, byte[] value) => database.Write(c =>
        c.Execute("INSERT INTO record_blobs VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3", id, key, value));

    public IReadOnlyList<string> Search(string index) =>
        database.Read(c => c.Query("SELECT DISTINCT id FROM record_values WHERE search = ?1 ORDER BY id", static r => r.String(0), index));

    private static void Link(SqliteConnection c, CacheRecord record, Role role, int position, string parent) =>
        c.Execute("INSERT INTO record_parents VALUES (?1, ?2, ?3, ?4)", record.Id, (long)role, position, parent);

    private static void Update(SqliteConnection c, CacheRecord r)
    {
        c.Execute(
            """
            UPDATE records SET equal_mutable = ?2, retain = ?3, blob_only = ?4, size = ?5, description = ?6, type = ?7, created = ?8,
                last_used = ?9, usage_count = ?10, diff_id = ?11, blob = ?12, chain_id = ?13, blob_chain_id = ?14, media_type = ?15, blob_size = ?16
            WHERE id = ?1
            """,
            r.Id, r.EqualMutable?.Id, r.Retain, r.BlobOnly, r.Size, r.Description, r.RecordType, StorageSchema.ToNanoseconds(r.CreatedAt),
            r.LastUsedAt is { } used ? StorageSchema.ToNanoseconds(used) : (long?)null, r.UsageCount, r.DiffId.ToString(), r.Blob.ToString(),
            r.Chain.ChainId.ToString(), r.Chain.BlobChainId.ToString(), r.MediaType, r.BlobSize);
        WriteList(c, r.Id, UrlList, r.Urls);
        WriteList(c, r.Id, ImageRefList, r.ImageRefs);
    }

    private static void WriteList(SqliteConnection c, string id, int list, List<string> values)
    {
        if (values.Count == 0)
            c.Execute("DELETE FROM record_lists WHERE id = ?1 AND list = ?2", id, list);
        for (var i = 0; i < values.Count; i++)
            c.Execute("INSERT INTO record_lists VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING", id, list, values[i], i);
    }
}

/// <summary>A record as it was read; parents are still names.</summary>
internal sealed record StoredRecord(
    string Id, bool Committed, string Snapshot, string? EqualMutable,
    string? Parent, IReadOnlyList<string> MergeParents, string? Lower, string? Upper, bool IsDiff,
    bool Retain, bool BlobOnly, long Size, string Description, string RecordType, DateTimeOffset CreatedAt,
    DateTimeOffset? LastUsedAt, long UsageCount, Digest DiffId, Digest Blob, ChainIds Chain, string MediaType, long BlobSize,
    List<string> Urls, List<string> ImageRefs);
