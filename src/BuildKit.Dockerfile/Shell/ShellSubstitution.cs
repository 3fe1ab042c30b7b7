using System.Text;

namespace BuildKit.Dockerfile.Shell;

/// <summary>The <c>$</c> forms (spec 05 §3).</summary>
internal sealed partial class ShellLexing
{
    private string ReadSubstitution()
    {
        Next();
        if (Peek != '{')
        {
            var plain = ReadName();
            if (plain.Length == 0)
                return "$";
            var (value, set) = Look(plain);
            return !set && _options.SkipUnset ? "$" + plain : value;
        }
        Next();
        if (Peek == End)
            throw new ShellSyntaxException("syntax error: missing '}'");
        if (Peek is '{' or '}' or ':')
            throw new ShellSyntaxException("syntax error: bad substitution");
        var name = ReadName();
        var operation = Next();
        switch (operation)
        {
            case '}':
                var (value, set) = Look(name);
                return !set && _options.SkipUnset ? "${" + name + "}" : value;
            case ':':
                return ReadModified(name, Next(), true);
            case '+' or '-' or '?' or '#' or '%':
                return ReadModified(name, operation, false);
            case '/':
                return ReadReplacement(name);
            default:
                throw Unsupported(Text(operation));
        }
    }

    private string ReadModified(string name, int operation, bool emptyIsUnset)
    {
        var modifier = (emptyIsUnset ? ":" : "") + Text(operation);
        var isPattern = operation is '#' or '%';
        if (emptyIsUnset && isPattern)
            throw Unsupported(modifier);
        var word = ReadOperand('}', isPattern, "syntax error: missing '}'");
        var (value, set) = Look(name);
        if (!set && _options.SkipUnset)
            return "${" + name + modifier + word + "}";
        var present = set && !(emptyIsUnset && value.Length == 0);
        switch (operation)
        {
            case '-':
                return present ? value : word;
            case '+':
                return present ? word : "";
            case '?' when !present:
                var reason = word.Length > 0 ? word : set ? "is not allowed to be empty" : "is not allowed to be unset";
                throw new ShellSyntaxException($"{name}: {reason}");
            case '?':
                return value;
            case '#' or '%':
                var greedy = word.Length > 0 && word[0] == operation;
                var pattern = greedy ? word[1..] : word;
                return operation == '#'
                    ? ShellPattern.RemovePrefix(pattern, value, greedy)
                    : ShellPattern.RemoveSuffix(pattern, value, greedy);
            default:
                throw Unsupported(modifier);
        }
    }

    private string ReadReplacement(string name)
    {
        var all = Peek == '/';
        if (all)
            Next();
        var pattern = ReadOperand('/', true, "syntax error: missing '/' in ${}");
        var replacement = ReadOperand('}', true, "syntax error: missing '}'");
        var (value, set) = Look(name);
        if (!set && _options.SkipUnset)
            return "${" + name + "/" + pattern + "/" + replacement + "}";
        return ShellPattern.Replace(pattern, value, replacement, all);
    }

    /// <summary>Lexes an operand; any failure that used up the text is told as the missing end.</summary>
    private string ReadOperand(int stop, bool rawEscapes, string atEnd)
    {
        try
        {
            return ReadUntil(stop, rawEscapes).Word;
        }
        catch (ShellSyntaxException) when (Peek == End)
        {
            throw new ShellSyntaxException(atEnd);
        }
    }

    private string ReadName()
    {
        var name = new StringBuilder();
        if (Peek != End && Rune.IsDigit(_runes[_position]))
        {
            while (Peek != End && Rune.IsDigit(_runes[_position]))
                name.Append(Text(Next()));
            return name.ToString();
        }
        if (Peek is '@' or '*' or '#' or '?' or '-' or '$' or '!')
            return Text(Next());
        while (Peek != End && (Peek == '_' || Rune.IsLetter(_runes[_position]) || Rune.IsDigit(_runes[_position])))
            name.Append(Text(Next()));
        return name.ToString();
    }

    private (string Value, bool Set) Look(string name)
    {
        var set = _environment.TryGet(name, out var value);
        References.Note(name, set);
        return (value ?? "", set);
    }

    private static ShellSyntaxException Unsupported(string modifier) => new($"unsupported modifier ({modifier}) in substitution");
}
