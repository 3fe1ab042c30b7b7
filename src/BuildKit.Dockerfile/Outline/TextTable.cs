using System.Text;

namespace BuildKit.Dockerfile.Outline;

/// <summary>Lines of cells in aligned columns; the last cell of a line is not padded.</summary>
internal sealed class TextTable(int padding)
{
    private readonly List<string[]> _rows = [];

    public TextTable Row(params string[] cells)
    {
        _rows.Add(cells);
        return this;
    }

    public void WriteTo(StringBuilder text)
    {
        var columns = _rows.Max(static r => r.Length) - 1;
        var widths = new int[columns];
        foreach (var row in _rows)
        {
            for (var i = 0; i < row.Length - 1; i++)
                widths[i] = Math.Max(widths[i], Width(row[i]) + padding);
        }
        foreach (var row in _rows)
        {
            for (var i = 0; i < row.Length - 1; i++)
                text.Append(row[i]).Append(' ', widths[i] - Width(row[i]));
            text.Append(row[^1]).Append('\n');
        }
    }

    private static int Width(string cell) => cell.EnumerateRunes().Count();
}
