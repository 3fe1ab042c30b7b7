using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace BuildKit.Storage.Refs;

/// <summary>
/// Filters over usage records in containerd's syntax (spec 06 §5.4): the selectors of one text all have to match,
/// of several texts one is enough, none at all match everything.
/// </summary>
public sealed class UsageFilter
{
    private readonly IReadOnlyList<IReadOnlyList<Selector>> _alternatives;

    private UsageFilter(IReadOnlyList<IReadOnlyList<Selector>> alternatives) => _alternatives = alternatives;

    /// <summary>Parses filters.</summary>
    /// <exception cref="FormatException">The text says where and why, as the reference does.</exception>
    public static UsageFilter Parse(IReadOnlyList<string> filters) =>
        new(filters.Select(static filter => filter.Length == 0 ? [] : new UsageFilterParser(filter).Parse()).ToList());

    /// <summary>Whether a record is selected.</summary>
    public bool Matches(UsageRecord record) =>
        _alternatives.Count == 0 || _alternatives.Any(selectors => selectors.All(selector => selector.Matches(record)));

    internal sealed record Selector(string Field, string Operator, string Value, Regex? Pattern)
    {
        public bool Matches(UsageRecord record)
        {
            var value = Read(record);
            return Operator switch
            {
                "" => value is not null,
                "==" => value is not null && value == Value,
                "!=" => value is null || value != Value,
                _ => Pattern!.IsMatch(value ?? ""),
            };
        }

        // Null: the field is absent. The true-or-false fields are present with an empty text.
        private string? Read(UsageRecord r) => Field switch
        {
            "id" => NonEmpty(r.Id),
            "description" => NonEmpty(r.Description),
            "type" => NonEmpty(r.RecordType),
            "parents" => r.Parents.Count == 0 ? null : string.Join(';', r.Parents),
            "inuse" => Present(r.InUse),
            "mutable" => Present(r.Mutable),
            "immutable" => Present(!r.Mutable),
            "shared" => Present(r.Shared),
            "private" => Present(!r.Shared),
            _ => null,
        };

        private static string? NonEmpty(string text) => text.Length == 0 ? null : text;

        private static string? Present(bool condition) => condition ? "" : null;
    }
}

/// <summary>
/// <c>selector {"," selector}</c>, <c>selector = field {"." field} [operator value]</c>. Positions in messages count
/// bytes of UTF-8, so the parser works on bytes.
/// </summary>
internal sealed class UsageFilterParser(string text)
{
    private readonly byte[] _input = Encoding.UTF8.GetBytes(text);
    private int _at;

    public IReadOnlyList<UsageFilter.Selector> Parse()
    {
        var selectors = new List<UsageFilter.Selector> { ParseSelector() };
        while (true)
        {
            SkipSpace();
            if (_at >= _input.Length)
                return selectors;
            if (_input[_at] != ',')
                throw Error(_at, $"unexpected input: {(char)_input[_at]}");
            _at++;
            selectors.Add(ParseSelector());
        }
    }

    private UsageFilter.Selector ParseSelector()
    {
        var field = new StringBuilder(ParseField());
        while (_at < _input.Length && _input[_at] == '.')
        {
            _at++;
            field.Append('.').Append(ParseField());
        }

        SkipSpace();
        if (_at >= _input.Length || _input[_at] == ',')
            return new UsageFilter.Selector(field.ToString(), "", "", null);
        var op = ParseOperator();
        var value = ParseValue(op == "~=");
        return new UsageFilter.Selector(field.ToString(), op, value, op == "~=" ? Compile(value) : null);
    }

    private string ParseField()
    {
        SkipSpace();
        var start = _at;
        if (_at < _input.Length && IsQuote(_input[_at]))
            return ParseQuoted(alternatives: false);
        while (_at < _input.Length && (_input[_at] == '_' || char.IsAsciiLetterOrDigit((char)_input[_at])))
            _at++;
        return _at > start ? Text(start, _at) : throw Error(start, "expected field or quoted");
    }

    private string ParseOperator()
    {
        var start = _at;
        while (_at < _input.Length && _input[_at] is (byte)'=' or (byte)'!' or (byte)'~')
            _at++;
        if (_at == start)
            throw Error(start, "expected an operator (\"==\"|\"!=\"|\"~=\")");
        var op = Text(start, _at);
        return op is "==" or "!=" or "~=" ? op : throw Error(start, $"unsupported operator \"{op}\"");
    }

    private string ParseValue(bool alternatives)
    {
        SkipSpace();
        var start = _at;
        if (_at < _input.Length && IsQuote(_input[_at]))
            return ParseQuoted(alternatives);

        // A run that starts with a separator or an operator sign is that, not a value; inside it both are allowed but the comma.
        if (_at >= _input.Length || _input[_at] is (byte)',' or (byte)'.' or (byte)'=' or (byte)'!' or (byte)'~')
            throw Error(start, "expected value or quoted");
        while (_at < _input.Length && _input[_at] != ',' && _input[_at] > 0x20 && _input[_at] != 0x7f)
            _at++;
        return _at > start ? Text(start, _at) : throw Error(start, "expected value or quoted");
    }

    private string ParseQuoted(bool alternatives)
    {
        var start = _at;
        var quote = _input[_at++];
        var bytes = new List<byte>();
        while (true)
        {
            if (_at >= _input.Length || _input[_at] == '\n')
                throw Error(start, "quoted literal not terminated");
            var next = _input[_at++];
            if (next == quote)
                break;
            if (next == '\\')
                ParseEscape(start, quote, bytes);
            else
                bytes.Add(next);
        }

        return alternatives || quote == '"' ? Encoding.UTF8.GetString(bytes.ToArray()) : throw Error(start, "invalid quote encountered");
    }

    private void ParseEscape(int start, byte quote, List<byte> bytes)
    {
        var kind = _at < _input.Length ? _input[_at++] : (byte)0;
        if (kind == quote)
        {
            bytes.Add(quote);
            return;
        }

        switch ((char)kind)
        {
            case 'a': bytes.Add(7); break;
            case 'b': bytes.Add(8); break;
            case 'f': bytes.Add(12); break;
            case 'n': bytes.Add(10); break;
            case 'r': bytes.Add(13); break;
            case 't': bytes.Add(9); break;
            case 'v': bytes.Add(11); break;
            case '\\': bytes.Add((byte)'\\'); break;
            case >= '0' and <= '7':
                _at--;
                bytes.Add((byte)Digits(start, 3, 8));
                break;
            case 'x': bytes.Add((byte)Digits(start, 2, 16)); break;
            case 'u': AddRune(Digits(start, 4, 16)); break;
            case 'U': AddRune(Digits(start, 8, 16)); break;
            default: throw Error(start, "illegal escape sequence");
        }

        void AddRune(long value)
        {
            if (value > 0x10ffff || !Rune.IsValid((int)value))
                throw Error(start, "unquoting failed: invalid syntax");
            bytes.AddRange(Encoding.UTF8.GetBytes(new Rune((int)value).ToString()));
        }
    }

    private long Digits(int start, int count, int numberBase)
    {
        long value = 0;
        for (var i = 0; i < count; i++)
        {
            var digit = _at < _input.Length && char.IsAsciiHexDigit((char)_input[_at])
                ? int.Parse([(char)_input[_at]], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
                : numberBase;
            if (digit >= numberBase)
                throw Error(start, "illegal numeric escape sequence");
            value = (value * numberBase) + digit;
            _at++;
        }

        return value;
    }

    // The engine without backtracking: a filter comes from a client and must not hang the daemon.
    private static Regex Compile(string pattern)
    {
        try
        {
            return new Regex(pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
        }
        catch (Exception error) when (error is ArgumentException or NotSupportedException)
        {
            throw new FormatException($"filters: error parsing regexp: {error.Message}: invalid argument", error);
        }
    }

    private static bool IsQuote(byte b) => b is (byte)'/' or (byte)'|' or (byte)'"';

    private void SkipSpace()
    {
        while (_at < _input.Length && _input[_at] is (byte)' ' or (byte)'\t' or (byte)'\n' or (byte)'\v' or (byte)'\f' or (byte)'\r')
            _at++;
    }

    private string Text(int from, int to) => Encoding.UTF8.GetString(_input, from, to - from);

    private FormatException Error(int position, string message)
    {
        var where = position < _input.Length
            ? $"[{Text(0, position)} >|{Text(position, position + 1)}|< {Text(position + 1, _input.Length)}]"
            : $"[{Text(0, _input.Length)}]";
        return new FormatException($"filters: parse error: {where}: {message}: invalid argument");
    }
}
