namespace BuildKit.Database;

/// <summary>A value bound to a statement: nothing, a whole number, text, or bytes.</summary>
public readonly struct SqlValue
{
    private SqlValue(SqlKind kind, long number = 0, string? text = null, ReadOnlyMemory<byte> bytes = default)
    {
        Kind = kind;
        Number = number;
        Text = text;
        Bytes = bytes;
    }

    internal SqlKind Kind { get; }

    internal long Number { get; }

    internal string? Text { get; }

    internal ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>SQL NULL.</summary>
    public static SqlValue Null => default;

    /// <summary>A whole number.</summary>
    public static implicit operator SqlValue(long value) => new(SqlKind.Integer, value);

    /// <summary>A whole number, or NULL.</summary>
    public static implicit operator SqlValue(long? value) => value is { } number ? new(SqlKind.Integer, number) : default;

    /// <summary>1 or 0.</summary>
    public static implicit operator SqlValue(bool value) => new(SqlKind.Integer, value ? 1 : 0);

    /// <summary>Text, or NULL.</summary>
    public static implicit operator SqlValue(string? value) => value is null ? default : new(SqlKind.Text, text: value);

    /// <summary>Bytes, or NULL.</summary>
    public static implicit operator SqlValue(byte[]? value) => value is null ? default : new(SqlKind.Blob, bytes: value);

    /// <summary>Bytes; they are copied when the statement runs.</summary>
    public static implicit operator SqlValue(ReadOnlyMemory<byte> value) => new(SqlKind.Blob, bytes: value);
}

internal enum SqlKind : byte
{
    Null,
    Integer,
    Text,
    Blob,
}
