using System.Globalization;
using System.Text;

namespace BuildKit.Daemon.Configuration.Toml;

/// <summary>Reads TOML 1.0. Text that breaks the grammar gives a <see cref="TomlException"/> with its place.</summary>
public sealed partial class TomlParser
{
    private readonly string _text;
    private readonly TomlTable _root = new() { Origin = TomlOrigin.Header };
    private int _at;

    private TomlParser(string text) => _text = text;

    /// <summary>Parses UTF-8 bytes.</summary>
    /// <exception cref="TomlException">Not TOML, or not UTF-8.</exception>
    public static TomlTable Parse(ReadOnlySpan<byte> utf8)
    {
        if (utf8.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]))
            utf8 = utf8[3..];
        try
        {
            return Parse(new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(utf8));
        }
        catch (DecoderFallbackException exception)
        {
            var line = 1 + utf8[..Math.Clamp(exception.Index, 0, utf8.Length)].Count((byte)'\n');
            throw new TomlException("invalid UTF-8 byte", line, 1);
        }
    }

    /// <summary>Parses a text.</summary>
    public static TomlTable Parse(string text)
    {
        var parser = new TomlParser(text);
        parser.ParseDocument();
        return parser._root;
    }

    private bool AtEnd => _at >= _text.Length;

    private char Current => _at < _text.Length ? _text[_at] : '\0';

    private void ParseDocument()
    {
        var table = _root;
        while (true)
        {
            SkipBlank();
            if (AtEnd)
                return;
            if (IsNewline())
            {
                SkipNewline();
                continue;
            }
            if (Current == '#')
                SkipComment();
            else if (Current == '[')
                table = ParseHeader();
            else
                ParseKeyValue(table);
            SkipBlank();
            if (Current == '#' && !AtEnd)
                SkipComment();
            if (AtEnd)
                return;
            if (!IsNewline())
                throw Error($"expected a new line, found '{Current}'");
            SkipNewline();
        }
    }

    private TomlTable ParseHeader()
    {
        var start = _at++;
        var ofTables = Current == '[';
        if (ofTables)
            _at++;
        SkipBlank();
        var keys = ParseKey();
        SkipBlank();
        Expect(']');
        if (ofTables)
            Expect(']');
        var parent = _root;
        for (var i = 0; i < keys.Count - 1; i++)
            parent = Descend(parent, keys[i], start);
        return ofTables ? AppendTable(parent, keys[^1], start) : OpenTable(parent, keys[^1], start);
    }

    private TomlTable Descend(TomlTable parent, string key, int place)
    {
        switch (parent[key])
        {
            case null:
                var made = new TomlTable();
                parent.Add(key, made);
                return made;
            case TomlTable { Origin: not TomlOrigin.Inline } table:
                return table;
            case TomlArray { OfTables: true } array:
                return (TomlTable)array.ItemList[^1];
            default:
                throw Error($"key {key} is already defined and cannot be extended", place);
        }
    }

    private TomlTable OpenTable(TomlTable parent, string key, int place)
    {
        switch (parent[key])
        {
            case null:
                var made = new TomlTable { Origin = TomlOrigin.Header };
                parent.Add(key, made);
                return made;
            case TomlTable { Origin: TomlOrigin.Implicit } table:
                table.Origin = TomlOrigin.Header;
                return table;
            default:
                throw Error($"table {key} is already defined", place);
        }
    }

    private TomlTable AppendTable(TomlTable parent, string key, int place)
    {
        var table = new TomlTable { Origin = TomlOrigin.Header };
        switch (parent[key])
        {
            case null:
                var array = new TomlArray { OfTables = true };
                array.ItemList.Add(table);
                parent.Add(key, array);
                return table;
            case TomlArray { OfTables: true } existing:
                existing.ItemList.Add(table);
                return table;
            default:
                throw Error($"key {key} is already defined and is no array of tables", place);
        }
    }

    private void ParseKeyValue(TomlTable table)
    {
        var start = _at;
        var keys = ParseKey();
        SkipBlank();
        Expect('=');
        SkipBlank();
        for (var i = 0; i < keys.Count - 1; i++)
        {
            switch (table[keys[i]])
            {
                case null:
                    var made = new TomlTable { Origin = TomlOrigin.Dotted };
                    table.Add(keys[i], made);
                    table = made;
                    break;
                case TomlTable { Origin: TomlOrigin.Dotted } dotted:
                    table = dotted;
                    break;
                default:
                    throw Error($"key {keys[i]} is already defined and cannot be extended", start);
            }
        }
        if (table[keys[^1]] is not null)
            throw Error($"key {keys[^1]} is already defined", start);
        table.Add(keys[^1], ParseValue());
    }

    private List<string> ParseKey()
    {
        var keys = new List<string>();
        while (true)
        {
            keys.Add(ParseSimpleKey());
            var mark = _at;
            SkipBlank();
            if (Current != '.')
            {
                _at = mark;
                return keys;
            }
            _at++;
            SkipBlank();
        }
    }

    private string ParseSimpleKey()
    {
        if (Current == '"')
            return LooksLike("\"\"\"") ? throw Error("a key cannot be a multi-line string") : ParseBasicString();
        if (Current == '\'')
            return LooksLike("'''") ? throw Error("a key cannot be a multi-line string") : ParseLiteralString();
        var start = _at;
        while (char.IsAsciiLetterOrDigit(Current) || Current is '-' or '_')
            _at++;
        return _at > start ? _text[start.._at] : throw Error(AtEnd ? "expected a key, found the end" : $"expected a key, found '{Current}'");
    }

    private object ParseValue()
    {
        switch (Current)
        {
            case '"':
                return LooksLike("\"\"\"") ? ParseMultilineBasic() : ParseBasicString();
            case '\'':
                return LooksLike("'''") ? ParseMultilineLiteral() : ParseLiteralString();
            case '[':
                return ParseArray();
            case '{':
                return ParseInlineTable();
            default:
                return ParseScalar();
        }
    }

    private TomlArray ParseArray()
    {
        _at++;
        var array = new TomlArray();
        while (true)
        {
            SkipBlankLinesAndComments();
            if (Current == ']')
                break;
            array.ItemList.Add(ParseValue());
            SkipBlankLinesAndComments();
            if (Current == ',')
                _at++;
            else if (Current != ']')
                throw Error(AtEnd ? "the array is not closed" : $"expected ',' or ']' in an array, found '{Current}'");
        }
        _at++;
        return array;
    }

    private TomlTable ParseInlineTable()
    {
        _at++;
        var table = new TomlTable { Origin = TomlOrigin.Dotted };
        SkipBlank();
        if (Current != '}')
        {
            while (true)
            {
                SkipBlank();
                ParseKeyValue(table);
                SkipBlank();
                if (Current == '}')
                    break;
                if (Current != ',')
                    throw Error(AtEnd ? "the inline table is not closed" : $"expected ',' or '}}' in an inline table, found '{Printable(Current)}'");
                _at++;
            }
        }
        _at++;
        Close(table);
        return table;
    }

    private static void Close(TomlTable table)
    {
        table.Origin = TomlOrigin.Inline;
        foreach (var key in table.Keys)
            if (table[key] is TomlTable inner)
                Close(inner);
    }

    private bool LooksLike(string prefix) => string.CompareOrdinal(_text, _at, prefix, 0, prefix.Length) == 0;

    private bool IsNewline() => Current == '\n' || LooksLike("\r\n");

    private void SkipNewline() => _at += Current == '\r' ? 2 : 1;

    private void SkipBlank()
    {
        while (Current is ' ' or '\t')
            _at++;
    }

    private void SkipComment()
    {
        while (!AtEnd && !IsNewline())
        {
            if (IsControl(Current))
                throw Error($"character {Printable(Current)} is not allowed in a comment");
            _at++;
        }
    }

    private void SkipBlankLinesAndComments()
    {
        while (!AtEnd)
        {
            if (Current is ' ' or '\t')
                _at++;
            else if (IsNewline())
                SkipNewline();
            else if (Current == '#')
                SkipComment();
            else
                return;
        }
    }

    private void Expect(char expected)
    {
        if (AtEnd)
            throw Error($"expected '{expected}', found the end");
        if (Current != expected)
            throw Error($"expected '{expected}', found '{Printable(Current)}'");
        _at++;
    }

    private static bool IsControl(char c) => c is < ' ' and not '\t' or '\x7f';

    private static string Printable(char c) => IsControl(c) || c == '\t' ? $"U+{(int)c:X4}" : c.ToString();

    private TomlException Error(string message, int? place = null)
    {
        var before = _text.AsSpan(0, Math.Min(place ?? _at, _text.Length));
        return new TomlException(message, 1 + before.Count('\n'), before.Length - (before.LastIndexOf('\n') + 1) + 1);
    }
}
