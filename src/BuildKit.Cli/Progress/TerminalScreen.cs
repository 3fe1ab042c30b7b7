using System.Globalization;
using System.Text;

namespace BuildKit.Cli.Progress;

/// <summary>
/// A small terminal that output is drawn on, so that a window can show what a user would see: carriage returns, cursor
/// movement and erasing count, colours do not (spec 08 §4.4).
/// </summary>
internal sealed class TerminalScreen
{
    private const int SmallestWidth = 6;
    private const int KeptInput = 12;

    private readonly List<Rune[]> _rows = [];
    private byte[] _pending = [];
    private int _row;
    private int _column;
    private (int Row, int Column) _saved;
    private int _width;

    public TerminalScreen(int height, int width) => Resize(height, width);

    /// <summary>Rows that hold something.</summary>
    public int UsedHeight => _rows.Count(static row => !IsBlank(row));

    /// <summary>The rows that hold something, as text.</summary>
    public IEnumerable<string> UsedRows()
    {
        foreach (var row in _rows)
        {
            if (!IsBlank(row))
                yield return string.Concat(row);
        }
    }

    /// <summary>Changes the size; what does not fit is lost.</summary>
    public void Resize(int height, int width)
    {
        height = Math.Max(1, height);
        width = Math.Max(SmallestWidth, width);
        if (_rows.Count > height)
            _rows.RemoveRange(height, _rows.Count - height);
        if (width != _width)
        {
            for (var i = 0; i < _rows.Count; i++)
            {
                var row = Blank(width);
                Array.Copy(_rows[i], row, Math.Min(width, _width));
                _rows[i] = row;
            }
            _width = width;
        }
        while (_rows.Count < height)
            _rows.Add(Blank(width));
    }

    /// <summary>Takes output in.</summary>
    public void Write(ReadOnlySpan<byte> input)
    {
        ReadOnlySpan<byte> rest = _pending.Length > 0 ? [.. _pending, .. input] : input;
        _pending = [];
        while (!rest.IsEmpty)
        {
            if (!TryTake(ref rest, out var rune))
            {
                // No UTF-8, or a character cut in two: a short rest waits for the next piece, a long one is skipped.
                if (rest.Length is > 0 and < KeptInput)
                    _pending = rest.ToArray();
                return;
            }
            if (rune.Value is 0x1b or 0x9b)
            {
                if (!TakeSequence(ref rest, rune.Value == 0x9b))
                    return;
            }
            else if (Rune.IsControl(rune))
            {
                Control(rune.Value);
            }
            else
            {
                Put(rune);
            }
        }
    }

    private static bool TryTake(ref ReadOnlySpan<byte> rest, out Rune rune)
    {
        var isValid = Rune.DecodeFromUtf8(rest, out rune, out var length) == System.Buffers.OperationStatus.Done;
        rest = rest[(isValid ? length : 1)..];
        return isValid;
    }

    private bool TakeSequence(ref ReadOnlySpan<byte> rest, bool isControlSequence)
    {
        var arguments = new StringBuilder();
        var isQuoted = false;
        for (var i = 0; ; i++)
        {
            if (rest.IsEmpty)
                return false;
            if (!TryTake(ref rest, out var rune))
                rune = Rune.ReplacementChar;
            if (i == 0 && rune.Value == '[')
            {
                isControlSequence = true;
                continue;
            }
            if (!isControlSequence || (!isQuoted && rune.Value is >= 64 and <= 126))
            {
                Execute(rune.Value, isControlSequence ? arguments.ToString() : "");
                return true;
            }
            isQuoted ^= rune.Value == '"';
            arguments.Append(rune);
        }
    }

    private void Execute(int command, string text)
    {
        var arguments = new List<int>();
        if (text.Length > 0)
        {
            foreach (var part in text.Split(';'))
            {
                if (!int.TryParse(part, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var argument))
                    return;
                arguments.Add(argument);
            }
        }
        var count = arguments.Count > 0 ? arguments[0] : 1;
        switch (command)
        {
            case 's' or '7':
                _saved = (_row, _column);
                break;
            case 'u' or '8':
                (_row, _column) = _saved;
                break;
            case 'A':
                MoveTo(_row - (long)count, _column);
                break;
            case 'B':
                MoveTo(_row + (long)count, _column);
                break;
            case 'C':
                MoveTo(_row, _column + (long)count);
                break;
            case 'D':
                MoveTo(_row, _column - (long)count);
                break;
            case 'H' or 'f':
                MoveTo(arguments.Count >= 2 ? arguments[0] - 1L : 0, arguments.Count >= 2 ? arguments[1] - 1L : 0);
                break;
            case 'K':
                Erase(arguments.Count > 0 ? arguments[0] : 0, wholeLines: false);
                break;
            case 'J':
                Erase(arguments.Count > 0 ? arguments[0] : 0, wholeLines: true);
                break;
        }
    }

    private void Control(int control)
    {
        switch (control)
        {
            case '\b':
                _column = Math.Max(0, _column - 1);
                break;
            case '\n':
                _row++;
                _column = 0;
                break;
            case '\r':
                _column = 0;
                break;
        }
    }

    private void Put(Rune rune)
    {
        if (_column >= _width)
        {
            _column = 0;
            _row++;
        }
        if (_row >= _rows.Count)
        {
            _rows.RemoveAt(0);
            _rows.Add(Blank(_width));
            _row = _rows.Count - 1;
        }
        _rows[_row][_column++] = rune;
        if (_column < _width)
            return;
        _column = 0;
        _row++;
    }

    private void MoveTo(long row, long column)
    {
        _row = (int)Math.Clamp(row, 0, _rows.Count - 1);
        _column = (int)Math.Clamp(column, 0, _width - 1);
    }

    private void Erase(int direction, bool wholeLines)
    {
        if (direction is < 0 or > 2)
            return;
        for (var row = 0; row < _rows.Count; row++)
        {
            if (row == _row && !wholeLines)
            {
                var from = direction == 0 ? Math.Min(_column, _width) : 0;
                var to = direction == 1 ? Math.Min(_column + 1, _width) : _width;
                Array.Fill(_rows[row], new Rune(' '), from, to - from);
            }
            else if (wholeLines && (direction == 2 || (direction == 0 ? row >= _row : row <= _row)))
            {
                Array.Fill(_rows[row], new Rune(' '));
            }
        }
    }

    private static Rune[] Blank(int width)
    {
        var row = new Rune[width];
        Array.Fill(row, new Rune(' '));
        return row;
    }

    private static bool IsBlank(Rune[] row) => Array.TrueForAll(row, static rune => rune.Value == ' ');
}
