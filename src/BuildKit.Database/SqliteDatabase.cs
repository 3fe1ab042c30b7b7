using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace BuildKit.Database;

/// <summary>
/// A metadata database: one writing connection behind a lock, as many reading ones as are in use at once (WAL:
/// readers never wait for the writer). A write that returned survives a kill of the process; small writes
/// queued with <see cref="WriteAsync"/> share transactions. All members may be called concurrently.
/// </summary>
public sealed class SqliteDatabase : IDisposable
{
    private static readonly TimeSpan BusyTimeout = TimeSpan.FromSeconds(30);

    private readonly string _path;
    private readonly Lock _writing = new();
    private readonly SqliteConnection _writer;
    private readonly DiskReserve _reserve;
    private readonly ConcurrentBag<SqliteConnection> _readers = [];
    private readonly Lock _queueing = new();
    private List<QueuedWrite> _queue = [];
    private bool _flushScheduled;
    private bool _disposed;

    private SqliteDatabase(string path, SqliteConnection writer)
    {
        _path = path;
        _writer = writer;
        _reserve = new DiskReserve(path);
    }

    /// <summary>
    /// Opens or makes the database. A damaged file is renamed to <c>&lt;file&gt;.&lt;id&gt;.bak</c> and an empty one
    /// takes its place.
    /// </summary>
    /// <param name="path">The file; its directory must exist.</param>
    /// <param name="schema">The tables; older files are lifted to it.</param>
    /// <exception cref="SqliteException">The file cannot be opened, or a newer program wrote it.</exception>
    public static SqliteDatabase Open(string path, DatabaseSchema schema)
    {
        try
        {
            return new SqliteDatabase(path, OpenWriter(path, schema));
        }
        catch (SqliteException error) when (error.IsCorruption)
        {
            SetAside(path);
            return new SqliteDatabase(path, OpenWriter(path, schema)) { SetAsideBecause = error };
        }
    }

    /// <summary>Why the former file was put aside at open; null when it was not.</summary>
    public SqliteException? SetAsideBecause { get; private init; }

    /// <summary>Runs queries on a consistent view of what is committed.</summary>
    public T Read<T>(Func<SqliteConnection, T> read)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!_readers.TryTake(out var connection))
            connection = NewReader();
        try
        {
            connection.Execute("BEGIN");
            try
            {
                return read(connection);
            }
            finally
            {
                connection.Execute("COMMIT");
            }
        }
        finally
        {
            if (_disposed)
                connection.Dispose();
            else
                _readers.Add(connection);
        }
    }

    /// <summary>Runs one transaction and commits it before it returns; an exception takes it back.
    /// Writes queued before are committed first.</summary>
    public T Write<T>(Func<SqliteConnection, T> write)
    {
        lock (_writing)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            RunQueued();
            try
            {
                var result = RunOnce(write);
                _reserve.Refill();
                return result;
            }
            catch (SqliteException error) when (error.IsDiskFull && _reserve.Spend())
            {
                return RunOnce(write);
            }
        }
    }

    private T RunOnce<T>(Func<SqliteConnection, T> write)
    {
        _writer.Execute("BEGIN IMMEDIATE");
        try
        {
            var result = write(_writer);
            _writer.Execute("COMMIT");
            return result;
        }
        catch
        {
            RollBack();
            throw;
        }
    }

    /// <summary>Runs one transaction and commits it before it returns; an exception takes it back.</summary>
    public void Write(Action<SqliteConnection> write) => Write(connection =>
    {
        write(connection);
        return 0;
    });

    /// <summary>
    /// Queues a write; writes queued while another one commits share one transaction, in order. The task
    /// ends when the write is committed, or fails with the write's own exception, which harms no other write.
    /// </summary>
    public Task WriteAsync(Action<SqliteConnection> write)
    {
        var queued = new QueuedWrite(write);
        lock (_queueing)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _queue.Add(queued);
            if (_flushScheduled)
                return queued.Done.Task;
            _flushScheduled = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(static database => database.Flush(), this, preferLocal: false);
        return queued.Done.Task;
    }

    /// <summary>Commits everything queued so far before it returns.</summary>
    public void Flush()
    {
        lock (_writing)
        {
            if (!_disposed)
                RunQueued();
        }
    }

    /// <summary>Commits what is queued and closes the file; the last close folds the log into it.</summary>
    public void Dispose()
    {
        lock (_writing)
        {
            if (_disposed)
                return;
            lock (_queueing)
                _disposed = true;
            RunQueued();
            while (_readers.TryTake(out var reader))
                reader.Dispose();
            _writer.Dispose();
        }
    }

    private static SqliteConnection OpenWriter(string path, DatabaseSchema schema)
    {
        // A leftover log means the last user was killed: look at the whole file once.
        var killed = File.Exists(path + "-wal");
        var isNew = !killed && !File.Exists(path);
        var connection = new SqliteConnection(path, readOnly: false, BusyTimeout);
        try
        {
            // Nothing is lost with a file that is being made: it need not wait for the disk, which may be busy.
            if (isNew)
                connection.Execute("PRAGMA synchronous=OFF");
            connection.QueryString("PRAGMA journal_mode=WAL");
            if (!isNew)
                connection.Execute("PRAGMA synchronous=NORMAL");
            connection.Execute("PRAGMA foreign_keys=ON");
            connection.Execute("PRAGMA temp_store=MEMORY");
            if (killed && connection.QueryString("PRAGMA quick_check(1)") is { } verdict && verdict != "ok")
                throw new SqliteException(SqliteNative.Corrupt, $"{path}: {verdict}");
            Lift(path, connection, schema);
            if (isNew)
                connection.Execute("PRAGMA synchronous=NORMAL");
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private static void Lift(string path, SqliteConnection connection, DatabaseSchema schema)
    {
        connection.Execute("BEGIN IMMEDIATE");
        try
        {
            connection.Execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)");
            var version = connection.QueryInt64("SELECT version FROM schema_version");
            if (version > schema.Steps.Count)
                throw new SqliteException(1, $"{path}: written by a newer program (schema {version}, this one knows {schema.Steps.Count})");
            for (var step = (int)version; step < schema.Steps.Count; step++)
                connection.ExecuteScript(schema.Steps[step]);
            connection.Execute("DELETE FROM schema_version");
            connection.Execute("INSERT INTO schema_version VALUES (?1)", schema.Steps.Count);
            connection.Execute("COMMIT");
        }
        catch
        {
            connection.Execute("ROLLBACK");
            throw;
        }
    }

    private static void SetAside(string path)
    {
        var id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));
        foreach (var suffix in (ReadOnlySpan<string>)["", "-wal", "-shm"])
        {
            if (File.Exists(path + suffix))
                File.Move(path + suffix, $"{path}.{id}.bak{suffix}");
        }
    }

    private SqliteConnection NewReader()
    {
        var reader = new SqliteConnection(_path, readOnly: true, BusyTimeout);
        reader.Execute("PRAGMA query_only=ON");
        return reader;
    }

    private void RunQueued()
    {
        List<QueuedWrite> batch;
        lock (_queueing)
        {
            _flushScheduled = false;
            if (_queue.Count == 0)
                return;
            (batch, _queue) = (_queue, []);
        }

        try
        {
            _writer.Execute("BEGIN IMMEDIATE");
            foreach (var queued in batch)
                RunOne(queued);
            _writer.Execute("COMMIT");
        }
        catch (Exception error)
        {
            RollBack();
            foreach (var queued in batch)
                queued.Error ??= error;
        }

        foreach (var queued in batch)
            queued.Finish();
        _reserve.Refill();
    }

    private void RunOne(QueuedWrite queued)
    {
        _writer.Execute("SAVEPOINT queued");
        try
        {
            queued.Write(_writer);
        }
        catch (Exception error)
        {
            queued.Error = error;
            _writer.Execute("ROLLBACK TO queued");
        }

        _writer.Execute("RELEASE queued");
    }

    // Some errors end the transaction by themselves; then there is nothing to take back.
    private void RollBack()
    {
        try
        {
            _writer.Execute("ROLLBACK");
        }
        catch (SqliteException)
        {
            return;
        }
    }

    private sealed class QueuedWrite(Action<SqliteConnection> write)
    {
        public Action<SqliteConnection> Write { get; } = write;

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Exception? Error { get; set; }

        public void Finish()
        {
            if (Error is { } error)
                Done.SetException(error);
            else
                Done.SetResult();
        }
    }
}
