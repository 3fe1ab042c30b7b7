using System.Text;
using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Text;

/// <summary>One comma-separated record with RFC 4180 quoting, as mount and device options are written.</summary>
internal static class CsvRecord
{
    /// <summary>The fields of a record; none for the empty text.</summary>
    /// <exception cref="DockerfileException">A quote is misplaced.</exception>
    public static IReadOnlyList<string> Fields(string record)
    {
        var fields = new List<string>();
        var line = record.EndsWith('\n') ? record[..^1] : record;
        if (line.Length == 0)
            return fields;
        var at = 0;
        while (true)
        {
            if (at >= line.Length || line[at] != '"')
            {
                var comma = line.IndexOf(',', Math.Min(at, line.Length));
                var field = comma < 0 ? line[at..] : line[at..comma];
                var quote = field.IndexOf('"', StringComparison.Ordinal);
                if (quote >= 0)
                    throw Misplaced("bare \" in non-quoted-field", line, at + quote);
                fields.Add(field);
                if (comma < 0)
                    return fields;
                at = comma + 1;
                continue;
            }
            at = Quoted(line, at + 1, fields);
            if (at < 0)
                return fields;
        }
    }

    /// <summary>Reads a quoted field; returns where the next one starts, or -1 at the end.</summary>
    private static int Quoted(string line, int at, List<string> fields)
    {
        var field = new StringBuilder();
        while (true)
        {
            var quote = line.IndexOf('"', at);
            if (quote < 0)
                throw Misplaced("extraneous or missing \" in quoted-field", line, line.Length);
            field.Append(line, at, quote - at);
            at = quote + 1;
            if (at == line.Length)
            {
                fields.Add(field.ToString());
                return -1;
            }
            if (line[at] == ',')
            {
                fields.Add(field.ToString());
                return at + 1;
            }
            if (line[at] != '"')
                throw Misplaced("extraneous or missing \" in quoted-field", line, quote);
            field.Append('"');
            at++;
        }
    }

    private static DockerfileException Misplaced(string problem, string line, int index) =>
        new($"parse error on line 1, column {Encoding.UTF8.GetByteCount(line.AsSpan(0, index)) + 1}: {problem}");
}
