using System.Text;

namespace BuildKit.Dockerfile.Shell;

/// <summary>One pass over a text: characters, quotes, escapes (spec 05 §3). Substitutions are in the other half.</summary>
internal sealed partial class ShellLexing
{
    /// <summary>Stands for the end of the text.</summary>
    public const int End = -1;

    private const int MaxDepth = 200;

    private readonly Rune[] _runes;
    private readonly IShellEnvironment _environment;
    private readonly ShellOptions _options;
    private readonly StringBuilder _openWord = new();
    private int _position;
    private bool _rawEscapes;
    private int _depth;

    public ShellLexing(string text, IShellEnvironment environment, ShellOptions options)
    {
        // A byte order mark at the start is no character.
        _runes = [.. (text.StartsWith('\uFEFF') ? text[1..] : text).EnumerateRunes()];
        _environment = environment;
        _options = options;
        _rawEscapes = options.RawEscapes;
    }

    /// <summary>Variables met so far.</summary>
    public ShellReferences References { get; } = new();

    private int Peek => _position < _runes.Length ? _runes[_position].Value : End;

    private int Next() => _position < _runes.Length ? _runes[_position++].Value : End;

    /// <summary>Lexes up to a character (taken, not part of the result) or the end of the text.</summary>
    public (string Word, List<string> Words) ReadUntil(int stop, bool rawEscapes)
    {
        if (++_depth > MaxDepth)
            throw new ShellSyntaxException("substitution nested too deeply");
        var before = _rawEscapes;
        _rawEscapes = rawEscapes;
        try
        {
            return Read(stop);
        }
        finally
        {
            _rawEscapes = before;
            _depth--;
        }
    }

    private (string Word, List<string> Words) Read(int stop)
    {
        var word = new StringBuilder();
        _openWord.Clear();
        var words = new WordSplitter(_openWord);
        while (Peek != End)
        {
            var c = Peek;
            if (stop != End && c == stop)
            {
                Next();
                return (word.ToString(), words.Finish());
            }
            if (c == '$')
            {
                var value = ReadSubstitution();
                word.Append(value);
                foreach (var rune in value.EnumerateRunes())
                    words.Add(rune);
            }
            else if (!_options.SkipProcessQuotes && c is '\'' or '"')
            {
                var quoted = c == '\'' ? ReadSingleQuoted() : ReadDoubleQuoted();
                word.Append(quoted);
                words.AddRaw(quoted);
            }
            else if (Next() != _options.EscapeToken)
            {
                word.Append(Text(c));
                words.Add(new Rune(c));
            }
            else if (!ReadEscaped(word, words))
            {
                break;
            }
        }
        if (stop != End)
            throw new ShellSyntaxException($"unexpected end of statement while looking for matching {Text(stop)}");
        return (word.ToString(), words.Finish());
    }

    /// <summary>Takes the character after an escape token; false at the end of the text.</summary>
    private bool ReadEscaped(StringBuilder word, WordSplitter words)
    {
        if (_rawEscapes)
        {
            word.Append(_options.EscapeToken);
            words.AddRaw(_options.EscapeToken.ToString());
        }
        var c = Next();
        if (c == End)
            return false;
        word.Append(Text(c));
        words.AddRaw(Text(c));
        return true;
    }

    private string ReadSingleQuoted()
    {
        var quoted = new StringBuilder();
        var quote = Next();
        if (_options.RawQuotes)
            quoted.Append((char)quote);
        while (true)
        {
            var c = Next();
            if (c == End)
                throw new ShellSyntaxException("unexpected end of statement while looking for matching single-quote");
            if (c != '\'' || _options.RawQuotes)
                quoted.Append(Text(c));
            if (c == '\'')
                return quoted.ToString();
        }
    }

    private string ReadDoubleQuoted()
    {
        var quoted = new StringBuilder();
        var quote = Next();
        if (_options.RawQuotes)
            quoted.Append((char)quote);
        while (true)
        {
            switch (Peek)
            {
                case End:
                    throw new ShellSyntaxException("unexpected end of statement while looking for matching double-quote");
                case '"':
                    Next();
                    return _options.RawQuotes ? quoted.Append('"').ToString() : quoted.ToString();
                case '$':
                    quoted.Append(ReadSubstitution());
                    break;
                default:
                    ReadInsideQuotes(quoted);
                    break;
            }
        }
    }

    private void ReadInsideQuotes(StringBuilder quoted)
    {
        var c = Next();
        if (c == _options.EscapeToken)
        {
            if (_rawEscapes)
                quoted.Append(_options.EscapeToken);
            if (Peek == End)
                return;
            if (Peek is '"' or '$' || Peek == _options.EscapeToken)
                c = Next();
        }
        quoted.Append(Text(c));
    }

    private static string Text(int rune) => rune == End ? "\uFFFD" : new Rune(rune).ToString();
}
