using System.Runtime.InteropServices;
using System.Text;

namespace BuildKit.Database;

/// <summary>The current row of a query; valid only inside the callback. Columns count from 0.</summary>
public readonly unsafe ref struct SqliteRow
{
    private readonly nint _statement;

    internal SqliteRow(nint statement) => _statement = statement;

    /// <summary>Whether a column is NULL.</summary>
    public bool IsNull(int column) => SqliteNative.ColumnType(_statement, column) == SqliteNative.TypeNull;

    /// <summary>A whole number; NULL reads as 0.</summary>
    public long Int64(int column) => SqliteNative.ColumnInt64(_statement, column);

    /// <summary>A whole number or null.</summary>
    public long? Int64OrNull(int column) => IsNull(column) ? null : SqliteNative.ColumnInt64(_statement, column);

    /// <summary>Whether a number is not 0.</summary>
    public bool Bool(int column) => SqliteNative.ColumnInt64(_statement, column) != 0;

    /// <summary>Text; NULL reads as the empty text.</summary>
    public string String(int column)
    {
        var text = SqliteNative.ColumnText(_statement, column);
        return text is null ? "" : Encoding.UTF8.GetString(text, SqliteNative.ColumnBytes(_statement, column));
    }

    /// <summary>Text or null.</summary>
    public string? StringOrNull(int column) => IsNull(column) ? null : String(column);

    /// <summary>Bytes, valid until the callback returns; NULL reads as no bytes.</summary>
    public ReadOnlySpan<byte> Span(int column)
    {
        var bytes = SqliteNative.ColumnBlob(_statement, column);
        return bytes is null ? [] : MemoryMarshal.CreateReadOnlySpan(ref *bytes, SqliteNative.ColumnBytes(_statement, column));
    }

    /// <summary>A copy of bytes, or null.</summary>
    public byte[]? BlobOrNull(int column) => IsNull(column) ? null : Span(column).ToArray();
}

/// <summary>Reads one row.</summary>
public delegate T RowReader<out T>(SqliteRow row);
