namespace BuildKit.Storage.Refs;

/// <summary>Metadata of one record; writes go through to the database.</summary>
internal sealed class RecordMetadata(RefStore store, CacheRecord record) : IRefMetadata
{
    /// <inheritdoc/>
    public string Id => record.Id;

    /// <inheritdoc/>
    public string Description
    {
        get => record.Description;
        set => store.Change(record, r => r.Description = value);
    }

    /// <inheritdoc/>
    public string RecordType
    {
        get => record.RecordType.Length == 0 ? "regular" : record.RecordType;
        set => store.Change(record, r => r.RecordType = value);
    }

    /// <inheritdoc/>
    public DateTimeOffset CreatedAt
    {
        get => record.CreatedAt;
        set => store.Change(record, r => r.CreatedAt = value);
    }

    /// <inheritdoc/>
    public bool Retain
    {
        get => record.Retain;
        set
        {
            if (record.Retain != value)
                store.Change(record, r => r.Retain = value);
        }
    }

    /// <inheritdoc/>
    public string? Get(string key) => store.Table.GetValue(record.Id, key);

    /// <inheritdoc/>
    public void Set(string key, string? value, string? index = null) => store.Table.SetValue(record.Id, key, value, index);

    /// <inheritdoc/>
    /// <remarks>A committed record starts with what its writable one had; finalizing moves it over.</remarks>
    public byte[]? GetBlob(string key)
    {
        var writable = record.EqualMutable;
        var own = store.Table.GetBytes(record.Id, key);
        if (own is not null || writable is null)
            return own;
        return store.Table.GetBytes(writable.Id, key) ?? store.Table.GetBytes(record.Id, key);
    }

    /// <inheritdoc/>
    public void SetBlob(string key, ReadOnlySpan<byte> value) => store.Table.SetBytes(record.Id, key, value.ToArray());
}
