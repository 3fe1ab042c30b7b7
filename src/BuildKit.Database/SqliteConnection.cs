using System.Runtime.InteropServices;
using System.Text;

namespace BuildKit.Database;

/// <summary>
/// One open connection, used by one thread at a time. Statements are prepared once per text and kept;
/// give values as parameters (<c>?1</c>, <c>?2</c>, …), never inside the text.
/// </summary>
public sealed unsafe class SqliteConnection : IDisposable
{
    private readonly Dictionary<string, nint> _statements = new(StringComparer.Ordinal);
    private readonly string _path;
    private nint _handle;

    internal SqliteConnection(string path, bool readOnly, TimeSpan busyTimeout)
    {
        SqliteNative.Initialize();
        _path = path;
        var flags = SqliteNative.OpenNoMutex | (readOnly ? SqliteNative.OpenReadOnly : SqliteNative.OpenReadWrite | SqliteNative.OpenCreate);
        var code = SqliteNative.Open(path, out _handle, flags, 0);
        if (code != SqliteNative.Ok)
        {
            var error = Failure("open the database");
            Dispose();
            throw error;
        }

        _ = SqliteNative.BusyTimeout(_handle, (int)busyTimeout.TotalMilliseconds);
    }

    /// <summary>Rows changed by the last <see cref="Execute"/>.</summary>
    public int Changes => SqliteNative.Changes(_handle);

    /// <summary>Runs a statement that returns nothing of interest.</summary>
    public void Execute(string sql, params ReadOnlySpan<SqlValue> values)
    {
        var statement = Start(sql, values);
        try
        {
            while (Step(statement, sql))
            {
            }
        }
        finally
        {
            Return(sql, statement);
        }
    }

    /// <summary>Runs several statements without parameters (schema scripts).</summary>
    public void ExecuteScript(string sql)
    {
        var bytes = Encoding.UTF8.GetBytes(sql);
        fixed (byte* start = bytes)
        {
            var position = start;
            var end = start + bytes.Length;
            while (position < end)
            {
                byte* tail = null;
                if (SqliteNative.Prepare(_handle, position, (int)(end - position), 0, out var statement, &tail) != SqliteNative.Ok)
                    throw Failure(sql);
                position = tail;
                if (statement == 0)
                    continue;
                try
                {
                    while (Step(statement, sql))
                    {
                    }
                }
                finally
                {
                    _ = SqliteNative.FinalizeStatement(statement);
                }
            }
        }
    }

    /// <summary>All rows, read by <paramref name="read"/>.</summary>
    public List<T> Query<T>(string sql, RowReader<T> read, params ReadOnlySpan<SqlValue> values)
    {
        var rows = new List<T>();
        var statement = Start(sql, values);
        try
        {
            while (Step(statement, sql))
                rows.Add(read(new SqliteRow(statement)));
        }
        finally
        {
            Return(sql, statement);
        }

        return rows;
    }

    /// <summary>The first row, or the default when there is none.</summary>
    public T? QueryFirst<T>(string sql, RowReader<T> read, params ReadOnlySpan<SqlValue> values)
    {
        var statement = Start(sql, values);
        try
        {
            return Step(statement, sql) ? read(new SqliteRow(statement)) : default;
        }
        finally
        {
            Return(sql, statement);
        }
    }

    /// <summary>The first column of the first row as a number; 0 when there is none.</summary>
    public long QueryInt64(string sql, params ReadOnlySpan<SqlValue> values) => QueryFirst(sql, static row => row.Int64(0), values);

    /// <summary>The first column of the first row as text; null when there is none.</summary>
    public string? QueryString(string sql, params ReadOnlySpan<SqlValue> values) => QueryFirst(sql, static row => row.StringOrNull(0), values);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var statement in _statements.Values)
            _ = SqliteNative.FinalizeStatement(statement);
        _statements.Clear();
        if (_handle != 0)
            _ = SqliteNative.Close(_handle);
        _handle = 0;
    }

    private nint Start(string sql, ReadOnlySpan<SqlValue> values)
    {
        ObjectDisposedException.ThrowIf(_handle == 0, this);

        // Taken out of the cache while it runs, so that a nested use of the same text gets its own.
        if (!_statements.Remove(sql, out var statement))
        {
            var bytes = Encoding.UTF8.GetBytes(sql);
            fixed (byte* text = bytes)
            {
                const uint persistent = 1;
                if (SqliteNative.Prepare(_handle, text, bytes.Length, persistent, out statement, null) != SqliteNative.Ok)
                    throw Failure(sql);
            }
        }

        try
        {
            for (var i = 0; i < values.Length; i++)
            {
                if (Bind(statement, i + 1, values[i]) != SqliteNative.Ok)
                    throw Failure(sql);
            }
        }
        catch
        {
            _ = SqliteNative.FinalizeStatement(statement);
            throw;
        }

        return statement;
    }

    private static int Bind(nint statement, int index, in SqlValue value)
    {
        switch (value.Kind)
        {
            case SqlKind.Integer:
                return SqliteNative.BindInt64(statement, index, value.Number);
            case SqlKind.Text:
                var text = value.Text!;
                var size = Encoding.UTF8.GetMaxByteCount(text.Length);
                var buffer = size <= 1024 ? stackalloc byte[1024] : new byte[size];
                var length = Encoding.UTF8.GetBytes(text, buffer);
                fixed (byte* bytes = buffer)
                    return SqliteNative.BindText(statement, index, bytes, length, SqliteNative.Transient);
            case SqlKind.Blob:
                // An empty blob needs a pointer that is not null, or it would be NULL.
                var none = (byte)0;
                fixed (byte* bytes = value.Bytes.Span)
                    return SqliteNative.BindBlob(statement, index, bytes is null ? &none : bytes, value.Bytes.Length, SqliteNative.Transient);
            default:
                return SqliteNative.BindNull(statement, index);
        }
    }

    private bool Step(nint statement, string sql) => SqliteNative.Step(statement) switch
    {
        SqliteNative.Row => true,
        SqliteNative.Done => false,
        _ => throw Failure(sql),
    };

    private void Return(string sql, nint statement)
    {
        _ = SqliteNative.Reset(statement);
        _ = SqliteNative.ClearBindings(statement);
        if (!_statements.TryAdd(sql, statement))
            _ = SqliteNative.FinalizeStatement(statement);
    }

    private SqliteException Failure(string doing)
    {
        if (_handle == 0)
            return new SqliteException(7, $"{_path}: out of memory, at: {doing}");
        var text = Marshal.PtrToStringUTF8((nint)SqliteNative.ErrorMessage(_handle));
        return new SqliteException(SqliteNative.ExtendedErrorCode(_handle), $"{_path}: {text}, at: {doing}");
    }
}
