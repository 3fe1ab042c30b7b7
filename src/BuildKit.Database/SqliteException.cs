namespace BuildKit.Database;

/// <summary>SQLite refused an operation; the message holds the library's own words and the statement.</summary>
public sealed class SqliteException(int code, string message) : Exception(message)
{
    /// <summary>SQLite's extended result code.</summary>
    public int Code { get; } = code;

    /// <summary>Whether the file is damaged or is no database.</summary>
    public bool IsCorruption => (Code & 0xff) is SqliteNative.Corrupt or SqliteNative.NotADatabase;

    /// <summary>Whether there is no room left on the disk.</summary>
    public bool IsDiskFull => (Code & 0xff) == SqliteNative.Full;
}
