using System.Text;

namespace BuildKit.Database;

/// <summary>
/// The content of a database file as text for people: a <c>bucket</c> for every table, a line for every row, keyed by its primary key.
/// The file is opened for reading only and is not checked against a schema, so that a damaged or a newer one can be looked at.
/// </summary>
public static class DatabaseDump
{
    private static readonly TimeSpan BusyTimeout = TimeSpan.FromSeconds(5);

    /// <summary>Writes all tables in order of their names.</summary>
    /// <exception cref="SqliteException">The file is no database, or cannot be read.</exception>
    public static void Write(string path, TextWriter output)
    {
        using var connection = new SqliteConnection(path, readOnly: true, BusyTimeout);
        var tables = connection.Query("SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite_%' ORDER BY name", static row => row.String(0));
        foreach (var table in tables)
            WriteTable(connection, table, output);
    }

    private static void WriteTable(SqliteConnection connection, string table, TextWriter output)
    {
        output.Write($"bucket {Quote(table)}:\n");
        var columns = connection.Query("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid", static row => (Name: row.String(0), Key: row.Int64(1)), table);
        var keys = columns.Where(static column => column.Key > 0).OrderBy(static column => column.Key).Select(static column => column.Name).ToArray();
        var values = columns.Where(static column => column.Key == 0).Select(static column => column.Name).ToArray();
        // quote() tells every kind of value apart: 'text', 12, X'00ff', NULL.
        var selected = keys.Select(static name => $"CAST({Identifier(name)} AS TEXT)").Concat(values.Select(static name => $"quote({Identifier(name)})"));
        var order = keys.Length > 0 ? " ORDER BY " + string.Join(", ", keys.Select(Identifier)) : "";
        var rows = connection.Query(
            $"SELECT {string.Join(", ", selected)} FROM {Identifier(table)}{order}",
            row =>
            {
                var line = new StringBuilder();
                for (var i = 0; i < keys.Length; i++)
                    line.Append(i > 0 ? "/" : "").Append(row.String(i));
                line = new StringBuilder("    ").Append(Quote(line.ToString())).Append(':');
                for (var i = 0; i < values.Length; i++)
                    line.Append(' ').Append(values[i]).Append('=').Append(row.String(keys.Length + i));
                return line.Append('\n').ToString();
            });
        foreach (var row in rows)
            output.Write(row);
    }

    private static string Identifier(string name) => "\"" + name.Replace("\"", "\"\"", StringComparison.Ordinal) + "\"";

    private static string Quote(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
        {
            if (c is '"' or '\\')
                quoted.Append('\\').Append(c);
            else if (char.IsControl(c))
                quoted.Append($"\\u{(int)c:x4}");
            else
                quoted.Append(c);
        }
        return quoted.Append('"').ToString();
    }
}
