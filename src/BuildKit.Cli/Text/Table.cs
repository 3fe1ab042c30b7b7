using System.Text;

namespace BuildKit.Cli.Text;

/// <summary>
/// Columns aligned with TAB characters (spec 08 §3.1): a cell is as wide as the widest of the run of lines that have it,
/// rounded up to a multiple of eight. The last cell of a line counts for nothing.
/// </summary>
internal sealed class Table(CommandContext context, int tab = 8, bool padsWithSpaces = false)
{
    private readonly List<string> _lines = [];

    /// <summary>Adds a line; cells are separated by TABs.</summary>
    public void Add(string line) => _lines.Add(line);

    /// <summary>Prints what was added; lines added later are aligned on their own.</summary>
    public void Flush()
    {
        context.Print(Layout(_lines, tab, padsWithSpaces));
        _lines.Clear();
    }

    private static string Layout(List<string> lines, int tab, bool padsWithSpaces)
    {
        var cells = lines.ConvertAll(static line => line.Split('\t'));
        var widths = cells.ConvertAll(static row => new int[row.Length]);
        for (var i = 0; i < cells.Count; i++)
        {
            for (var column = 0; column < cells[i].Length - 1; column++)
            {
                if (widths[i][column] > 0)
                    continue;
                var end = i;
                var width = 0;
                for (; end < cells.Count && cells[end].Length - 1 > column; end++)
                    width = Math.Max(width, Runes(cells[end][column]));
                width++;
                if (!padsWithSpaces)
                    width = (width + tab - 1) / tab * tab;
                for (var row = i; row < end; row++)
                    widths[row][column] = width;
            }
        }
        var text = new StringBuilder();
        for (var i = 0; i < cells.Count; i++)
        {
            for (var column = 0; column < cells[i].Length; column++)
            {
                text.Append(cells[i][column]);
                if (column == cells[i].Length - 1)
                    break;
                var missing = widths[i][column] - Runes(cells[i][column]);
                text.Append(padsWithSpaces ? ' ' : '\t', padsWithSpaces ? missing : (missing + tab - 1) / tab);
            }
            text.Append('\n');
        }
        return text.ToString();
    }

    private static int Runes(string text)
    {
        var count = 0;
        foreach (var _ in text.EnumerateRunes())
            count++;
        return count;
    }
}
