using BuildKit.Database;

namespace BuildKit.Tests.Database;

public sealed class SqliteDatabaseTests : IDisposable
{
    private static readonly DatabaseSchema Schema = new("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB, n INTEGER) WITHOUT ROWID;");

    private readonly string _directory = Directory.CreateTempSubdirectory("buildkit-db").FullName;

    private string File => Path.Combine(_directory, "a.db");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Values_of_each_kind_come_back_as_they_went_in()
    {
        using var database = SqliteDatabase.Open(File, Schema);
        byte[] bytes = [0, 1, 255];
        database.Write(c =>
        {
            c.Execute("INSERT INTO t VALUES (?1, ?2, ?3)", "ключ", bytes, long.MinValue);
            c.Execute("INSERT INTO t VALUES (?1, ?2, ?3)", "empty", Array.Empty<byte>(), SqlValue.Null);
            c.Execute("INSERT INTO t VALUES (?1, ?2, ?3)", new string('x', 5000), SqlValue.Null, 1);
        });
        var rows = database.Read(c => c.Query("SELECT k, v, n FROM t ORDER BY k", r => (r.String(0), r.BlobOrNull(1), r.Int64OrNull(2))));
        Assert.Equal(3, rows.Count);
        Assert.Equal("empty", rows[0].Item1);
        Assert.Empty(rows[0].Item2!);
        Assert.Null(rows[0].Item3);
        Assert.Null(rows[1].Item2);
        Assert.Equal(("ключ", long.MinValue), (rows[2].Item1, rows[2].Item3));
        Assert.Equal(bytes, rows[2].Item2);
    }

    [Fact]
    public void A_failed_transaction_leaves_nothing()
    {
        using var database = SqliteDatabase.Open(File, Schema);
        Assert.Throws<InvalidDataException>(() => database.Write(c =>
        {
            c.Execute("INSERT INTO t VALUES ('a', NULL, 1)");
            throw new InvalidDataException();
        }));
        Assert.Equal(0, database.Read(c => c.QueryInt64("SELECT count(*) FROM t")));
    }

    [Fact]
    public async Task A_queued_write_that_fails_does_not_harm_its_neighbours()
    {
        using var database = SqliteDatabase.Open(File, Schema);
        var writes = Enumerable.Range(0, 1000)
            .Select(i => database.WriteAsync(c => c.Execute("INSERT INTO t VALUES (?1, NULL, ?2)", i == 500 ? "499" : i.ToString(), i)))
            .ToList();
        await Assert.ThrowsAsync<SqliteException>(() => writes[500]);
        await Task.WhenAll(writes.Where((_, i) => i != 500));
        Assert.Equal(999, database.Read(c => c.QueryInt64("SELECT count(*) FROM t")));
    }

    [Fact]
    public void Queued_writes_are_kept_when_the_database_is_closed()
    {
        var database = SqliteDatabase.Open(File, Schema);
        for (var i = 0; i < 100; i++)
            _ = database.WriteAsync(c => c.Execute("INSERT INTO t VALUES (?1, NULL, 1)", Guid.NewGuid().ToString()));
        database.Dispose();
        using var again = SqliteDatabase.Open(File, Schema);
        Assert.Equal(100, again.Read(c => c.QueryInt64("SELECT count(*) FROM t")));
    }

    [Fact]
    public void A_damaged_file_is_set_aside_and_a_new_one_made()
    {
        System.IO.File.WriteAllText(File, new string('#', 8192));
        using var database = SqliteDatabase.Open(File, Schema);
        Assert.NotNull(database.SetAsideBecause);
        Assert.Equal(0, database.Read(c => c.QueryInt64("SELECT count(*) FROM t")));
        Assert.Single(Directory.GetFiles(_directory, "a.db.*.bak"));
    }

    [Fact]
    public void An_older_file_is_lifted_and_a_newer_one_refused()
    {
        SqliteDatabase.Open(File, Schema).Dispose();
        var newer = new DatabaseSchema(Schema.Steps[0], "ALTER TABLE t ADD COLUMN extra TEXT");
        using (var lifted = SqliteDatabase.Open(File, newer))
            lifted.Write(c => c.Execute("INSERT INTO t VALUES ('a', NULL, 1, 'x')"));
        var error = Assert.Throws<SqliteException>(() => SqliteDatabase.Open(File, Schema));
        Assert.Contains("newer program", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_query_may_run_inside_itself()
    {
        using var database = SqliteDatabase.Open(File, Schema);
        database.Write(c =>
        {
            c.Execute("INSERT INTO t VALUES ('a', NULL, 1)");
            c.Execute("INSERT INTO t VALUES ('b', NULL, 2)");
        });
        const string sql = "SELECT k FROM t ORDER BY k";
        var pairs = database.Read(c => c.Query(sql, r => (r.String(0), Count: c.Query(sql, inner => inner.String(0)).Count)));
        Assert.Equal([("a", 2), ("b", 2)], pairs);
    }
}
