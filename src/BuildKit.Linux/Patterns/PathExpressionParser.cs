using System.Globalization;
using System.Text;
using RuneSet = BuildKit.Linux.Patterns.PathExpression.RuneSet;
using Step = BuildKit.Linux.Patterns.PathExpression.Step;
using StepKind = BuildKit.Linux.Patterns.PathExpression.StepKind;

namespace BuildKit.Linux.Patterns;

/// <summary>Reads the text of a <see cref="PathExpression"/>: literals, escapes, classes, <c>.</c>, <c>*</c>, <c>?</c> and one level of groups.</summary>
internal sealed class PathExpressionParser(string text)
{
    private readonly List<Step> _steps = [];
    private int _at;
    private bool _bad;

    /// <summary>The states, or null when the text is malformed.</summary>
    public Step[]? Parse()
    {
        while (_at < text.Length && !_bad)
        {
            var start = _steps.Count;
            var c = text[_at];
            if (c == '(')
            {
                _at++;
                while (_at < text.Length && text[_at] != ')' && !_bad)
                    ReadRepeatedAtom();
                _bad |= _at >= text.Length;
                _at++;
                ApplyRepeat(start);
            }
            else if (c == ')')
            {
                _bad = true;
            }
            else
            {
                ReadRepeatedAtom();
            }
        }
        _steps.Add(new Step(StepKind.Match));
        return _bad ? null : [.. _steps];
    }

    private void ReadRepeatedAtom()
    {
        var start = _steps.Count;
        ReadAtom();
        if (!_bad)
            ApplyRepeat(start);
    }

    private void ApplyRepeat(int start)
    {
        if (_at >= text.Length || text[_at] is not ('*' or '?'))
            return;
        var star = text[_at++] == '*';
        foreach (var step in _steps.Skip(start))
        {
            if (step.Kind != StepKind.Fork)
                continue;
            step.Other++;
            step.Target++;
        }
        var skip = new Step(StepKind.Fork);
        _steps.Insert(start, skip);
        if (star)
            _steps.Add(new Step(StepKind.Fork) { Other = start, Jump = true, Target = _steps.Count + 1 });
        skip.Other = _steps.Count;
    }

    private void ReadAtom()
    {
        switch (text[_at])
        {
            case '^':
                _at++;
                _steps.Add(new Step(StepKind.TextBegin));
                break;
            case '$':
                _at++;
                _steps.Add(new Step(StepKind.TextEnd));
                break;
            case '.':
                _at++;
                _steps.Add(new Step(StepKind.Set, new RuneSet { Negated = true }.Add('\n', '\n')));
                break;
            case '*' or '?':
                _bad = true;
                break;
            case '[':
                _at++;
                ReadClass();
                break;
            case '\\' when _at + 1 < text.Length:
                ReadEscapedAtom();
                break;
            case '\\':
                _bad = true;
                break;
            default:
                AddLiteral(ReadRune());
                break;
        }
    }

    private void ReadEscapedAtom()
    {
        switch (text[_at + 1])
        {
            case 'A':
                AddAssertion(StepKind.TextBegin);
                return;
            case 'z':
                AddAssertion(StepKind.TextEnd);
                return;
            case 'b':
                AddAssertion(StepKind.WordBoundary);
                return;
            case 'B':
                AddAssertion(StepKind.NoWordBoundary);
                return;
            case 'Q':
                _at += 2;
                while (_at < text.Length)
                {
                    if (string.CompareOrdinal(text, _at, "\\E", 0, 2) == 0)
                    {
                        _at += 2;
                        return;
                    }
                    AddLiteral(ReadRune());
                }
                return;
        }
        var set = new RuneSet();
        if (TryReadNamedSet(set))
            _steps.Add(new Step(StepKind.Set, set));
        else
            AddLiteral(ReadEscapedRune());
    }

    private void AddAssertion(StepKind kind)
    {
        _at += 2;
        _steps.Add(new Step(kind));
    }

    private void AddLiteral(int rune) => _steps.Add(new Step(StepKind.Set, new RuneSet().Add(rune, rune)));

    private void ReadClass()
    {
        var set = new RuneSet();
        if (_at < text.Length && text[_at] == '^')
        {
            set.Negated = true;
            _at++;
        }
        for (var first = true; ; first = false)
        {
            if (_bad || _at >= text.Length)
            {
                _bad = true;
                return;
            }
            if (text[_at] == ']' && !first)
                break;
            if (text[_at] == '[' && TryReadPosixClass(set))
                continue;
            if (text[_at] == '\\' && _at + 1 < text.Length && TryReadNamedSet(set))
                continue;
            var low = ReadClassRune();
            var high = low;
            if (_at + 1 < text.Length && text[_at] == '-' && text[_at + 1] != ']')
            {
                _at++;
                high = ReadClassRune();
                _bad |= high < low;
            }
            set.Add(low, high);
        }
        _at++;
        _steps.Add(new Step(StepKind.Set, set));
    }

    private int ReadClassRune() => text[_at] == '\\' ? ReadEscapedRune() : ReadRune();

    private bool TryReadPosixClass(RuneSet set)
    {
        if (_at + 2 >= text.Length || text[_at + 1] != ':')
            return false;
        var end = text.IndexOf(":]", _at + 2, StringComparison.Ordinal);
        if (end < 0)
            return false;
        var name = text[(_at + 2)..end];
        var negated = name.StartsWith('^');
        var named = Posix(negated ? name[1..] : name);
        if (named is null)
            _bad = true;
        else
            set.Add(named, negated);
        _at = end + 2;
        return true;
    }

    private static RuneSet? Posix(string name) => name switch
    {
        "alnum" => new RuneSet().Add('0', '9').Add('A', 'Z').Add('a', 'z'),
        "alpha" => new RuneSet().Add('A', 'Z').Add('a', 'z'),
        "ascii" => new RuneSet().Add(0, 0x7F),
        "blank" => new RuneSet().Add('\t', '\t').Add(' ', ' '),
        "cntrl" => new RuneSet().Add(0, 0x1F).Add(0x7F, 0x7F),
        "digit" => new RuneSet().Add('0', '9'),
        "graph" => new RuneSet().Add('!', '~'),
        "lower" => new RuneSet().Add('a', 'z'),
        "print" => new RuneSet().Add(' ', '~'),
        "punct" => new RuneSet().Add('!', '/').Add(':', '@').Add('[', '`').Add('{', '~'),
        "space" => new RuneSet().Add('\t', '\r').Add(' ', ' '),
        "upper" => new RuneSet().Add('A', 'Z'),
        "word" => Word(),
        "xdigit" => new RuneSet().Add('0', '9').Add('A', 'F').Add('a', 'f'),
        _ => null,
    };

    private static RuneSet Word() => new RuneSet().Add('0', '9').Add('A', 'Z').Add('_', '_').Add('a', 'z');

    // \d \s \w and their opposites, \pL, \p{Lu}, \P{L}.
    private bool TryReadNamedSet(RuneSet set)
    {
        var c = text[_at + 1];
        if (c is 'p' or 'P')
        {
            ReadCategory(set, negated: c == 'P');
            return true;
        }
        var named = char.ToLowerInvariant(c) switch
        {
            'd' => new RuneSet().Add('0', '9'),
            's' => new RuneSet().Add('\t', '\n').Add('\f', '\r').Add(' ', ' '),
            'w' => Word(),
            _ => null,
        };
        if (named is null)
            return false;
        set.Add(named, negated: char.IsAsciiLetterUpper(c));
        _at += 2;
        return true;
    }

    private void ReadCategory(RuneSet set, bool negated)
    {
        _at += 2;
        if (_at >= text.Length)
        {
            _bad = true;
            return;
        }
        string name;
        if (text[_at] != '{')
        {
            name = new Rune(ReadRune()).ToString();
        }
        else
        {
            var end = text.IndexOf('}', _at);
            // The translation escapes the braces, so the closing one has a backslash before it and no name is known.
            if (end < 0)
            {
                _bad = true;
                return;
            }
            name = text[(_at + 1)..end];
            _at = end + 1;
        }
        if (name.StartsWith('^'))
        {
            negated = !negated;
            name = name[1..];
        }
        if (name == "Any")
        {
            set.Add(_ => true, negated);
            return;
        }
        var wanted = Enum.GetValues<UnicodeCategory>().Where(category => Short(category).StartsWith(name, StringComparison.Ordinal)).ToHashSet();
        _bad |= name.Length is 0 or > 2 || wanted.Count == 0;
        set.Add(wanted.Contains, negated);
    }

    private static string Short(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter => "Lu",
        UnicodeCategory.LowercaseLetter => "Ll",
        UnicodeCategory.TitlecaseLetter => "Lt",
        UnicodeCategory.ModifierLetter => "Lm",
        UnicodeCategory.OtherLetter => "Lo",
        UnicodeCategory.NonSpacingMark => "Mn",
        UnicodeCategory.SpacingCombiningMark => "Mc",
        UnicodeCategory.EnclosingMark => "Me",
        UnicodeCategory.DecimalDigitNumber => "Nd",
        UnicodeCategory.LetterNumber => "Nl",
        UnicodeCategory.OtherNumber => "No",
        UnicodeCategory.SpaceSeparator => "Zs",
        UnicodeCategory.LineSeparator => "Zl",
        UnicodeCategory.ParagraphSeparator => "Zp",
        UnicodeCategory.Control => "Cc",
        UnicodeCategory.Format => "Cf",
        UnicodeCategory.PrivateUse => "Co",
        UnicodeCategory.Surrogate => "Cs",
        UnicodeCategory.ConnectorPunctuation => "Pc",
        UnicodeCategory.DashPunctuation => "Pd",
        UnicodeCategory.OpenPunctuation => "Ps",
        UnicodeCategory.ClosePunctuation => "Pe",
        UnicodeCategory.InitialQuotePunctuation => "Pi",
        UnicodeCategory.FinalQuotePunctuation => "Pf",
        UnicodeCategory.OtherPunctuation => "Po",
        UnicodeCategory.MathSymbol => "Sm",
        UnicodeCategory.CurrencySymbol => "Sc",
        UnicodeCategory.ModifierSymbol => "Sk",
        UnicodeCategory.OtherSymbol => "So",
        _ => "?",
    };

    private int ReadEscapedRune()
    {
        _at++;
        if (_at >= text.Length)
            return Fail();
        var c = text[_at++];
        switch (c)
        {
            case 'a':
                return '\a';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'v':
                return '\v';
            case 'x':
                return ReadHex();
            case >= '1' and <= '7' when _at >= text.Length || text[_at] is < '0' or > '7':
                return Fail();
            case >= '0' and <= '7':
                var value = c - '0';
                for (var i = 0; i < 2 && _at < text.Length && text[_at] is >= '0' and <= '7'; i++)
                    value = (value * 8) + (text[_at++] - '0');
                return value;
            default:
                return c < 128 && !char.IsAsciiLetterOrDigit(c) ? c : Fail();
        }
    }

    private int ReadHex()
    {
        if (_at + 1 < text.Length && char.IsAsciiHexDigit(text[_at]) && char.IsAsciiHexDigit(text[_at + 1]))
        {
            _at += 2;
            return int.Parse(text.AsSpan(_at - 2, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        }
        return Fail();
    }

    private int Fail()
    {
        _bad = true;
        return 0;
    }

    private int ReadRune()
    {
        if (Rune.TryGetRuneAt(text, _at, out var rune))
        {
            _at += rune.Utf16SequenceLength;
            return rune.Value;
        }
        _at++;
        return Rune.ReplacementChar.Value;
    }
}
