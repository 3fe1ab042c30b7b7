using System.Globalization;
using System.Text;

namespace BuildKit.Daemon.Configuration.Toml;

public sealed partial class TomlParser
{
    private string ParseBasicString()
    {
        var start = _at++;
        var value = new StringBuilder();
        while (true)
        {
            if (AtEnd || IsNewline())
                throw Error("the string is not closed", start);
            var c = Current;
            if (c == '"')
            {
                _at++;
                return value.ToString();
            }
            if (c == '\\')
                ParseEscape(value);
            else if (IsControl(c))
                throw Error($"character {Printable(c)} is not allowed in a string");
            else
            {
                value.Append(c);
                _at++;
            }
        }
    }

    private string ParseLiteralString()
    {
        var start = _at++;
        while (Current != '\'')
        {
            if (AtEnd || IsNewline())
                throw Error("the string is not closed", start);
            if (IsControl(Current))
                throw Error($"character {Printable(Current)} is not allowed in a string");
            _at++;
        }
        return _text[(start + 1)..(_at++)];
    }

    private string ParseMultilineBasic()
    {
        var start = _at;
        _at += 3;
        if (IsNewline())
            SkipNewline();
        var value = new StringBuilder();
        while (true)
        {
            if (AtEnd)
                throw Error("the string is not closed", start);
            if (LooksLike("\"\"\""))
            {
                EndMultiline(value, '"');
                return value.ToString();
            }
            if (IsNewline())
                AppendNewline(value);
            else if (Current == '\\' && IsLineContinuation())
                SkipContinuation();
            else if (Current == '\\')
                ParseEscape(value);
            else if (IsControl(Current))
                throw Error($"character {Printable(Current)} is not allowed in a string");
            else
                value.Append(_text[_at++]);
        }
    }

    private string ParseMultilineLiteral()
    {
        var start = _at;
        _at += 3;
        if (IsNewline())
            SkipNewline();
        var value = new StringBuilder();
        while (true)
        {
            if (AtEnd)
                throw Error("the string is not closed", start);
            if (LooksLike("'''"))
            {
                EndMultiline(value, '\'');
                return value.ToString();
            }
            if (IsNewline())
                AppendNewline(value);
            else if (IsControl(Current))
                throw Error($"character {Printable(Current)} is not allowed in a string");
            else
                value.Append(_text[_at++]);
        }
    }

    /// <summary>Up to two quotation marks may stand right before the closing three.</summary>
    private void EndMultiline(StringBuilder value, char quote)
    {
        _at += 3;
        for (var extra = 0; extra < 2 && Current == quote; extra++)
        {
            value.Append(quote);
            _at++;
        }
    }

    private void AppendNewline(StringBuilder value)
    {
        value.Append(Current == '\r' ? "\r\n" : "\n");
        SkipNewline();
    }

    private bool IsLineContinuation()
    {
        var i = _at + 1;
        while (i < _text.Length && _text[i] is ' ' or '\t')
            i++;
        return i < _text.Length && (_text[i] == '\n' || (_text[i] == '\r' && i + 1 < _text.Length && _text[i + 1] == '\n'));
    }

    private void SkipContinuation()
    {
        _at++;
        while (!AtEnd && (Current is ' ' or '\t' || IsNewline()))
            _at += Current == '\r' ? 2 : 1;
    }

    private void ParseEscape(StringBuilder value)
    {
        var start = _at++;
        var c = Current;
        _at++;
        switch (c)
        {
            case 'b': value.Append('\b'); break;
            case 't': value.Append('\t'); break;
            case 'n': value.Append('\n'); break;
            case 'f': value.Append('\f'); break;
            case 'r': value.Append('\r'); break;
            case '"': value.Append('"'); break;
            case '\\': value.Append('\\'); break;
            case 'u': ParseUnicode(value, 4, start); break;
            case 'U': ParseUnicode(value, 8, start); break;
            default: throw Error($"unknown escape \\{Printable(c)}", start);
        }
    }

    private void ParseUnicode(StringBuilder value, int digits, int start)
    {
        if (_at + digits > _text.Length ||
            !uint.TryParse(_text.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) ||
            !Rune.IsValid(code))
            throw Error("the escape is no Unicode scalar value", start);
        value.Append(new Rune(code).ToString());
        _at += digits;
    }
}
