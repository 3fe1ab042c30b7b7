using System.Text;
using System.Text.RegularExpressions;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>Splits the text of one instruction into name, flags and arguments (spec 05 §2.3).</summary>
internal static partial class InstructionSplitter
{
    private const int MaxTriggerDepth = 32;

    [GeneratedRegex(@"[\t\v\f\r ]+", RegexOptions.CultureInvariant)]
    private static partial Regex Blanks();

    /// <summary>Splits a joined line.</summary>
    public static DockerfileNode Split(string line, char escape, IReadOnlyList<string> comments, int depth = 0)
    {
        var parts = Blanks().Split(line.Trim(), 2);
        var (flags, rest) = parts.Length == 2 ? FlagSplitter.Split(parts[1]) : ([], "");
        rest = rest.Trim();
        var arguments = Arguments.None;
        switch (parts[0].ToLowerInvariant())
        {
            case "add" or "copy" or "volume":
                arguments = JsonArray.TryRead(rest, out var list) ? new(list, true) : Words(rest);
                break;
            case "run" or "cmd" or "entrypoint" or "shell":
                arguments = JsonOrText(rest);
                break;
            case "from" or "expose":
                arguments = Words(rest);
                break;
            case "env":
                arguments = new(NameValueList.Read(rest, "ENV", escape), false);
                break;
            case "label":
                arguments = new(NameValueList.Read(rest, "LABEL", escape), false);
                break;
            case "arg":
                arguments = new(NameValueList.SplitWords(rest, escape), false);
                break;
            case "user" or "workdir" or "stopsignal" or "maintainer":
                arguments = rest.Length == 0 ? Arguments.None : new([rest], false);
                break;
            case "healthcheck":
                arguments = HealthCheck(rest);
                break;
            case "onbuild":
                arguments = Trigger(rest, escape, depth);
                break;
            default:
                arguments = new([""], false);
                break;
        }
        return new DockerfileNode
        {
            Name = parts[0],
            Original = line,
            Flags = flags,
            Arguments = arguments.Values,
            IsJson = arguments.IsJson,
            Inner = arguments.Inner,
            Comments = comments,
        };
    }

    private static Arguments JsonOrText(string rest)
    {
        if (rest.Length == 0)
            return Arguments.None;
        return JsonArray.TryRead(rest, out var list) ? new(list, true) : new([rest], false);
    }

    private static Arguments Words(string rest) => rest.Length == 0 ? Arguments.None : new(Blanks().Split(rest), false);

    private static Arguments HealthCheck(string rest)
    {
        // Works on bytes: the bytes 0x85 and 0xA0 of a longer character count as blanks.
        var bytes = Encoding.UTF8.GetBytes(rest);
        var end = 0;
        while (end < bytes.Length && !char.IsWhiteSpace((char)bytes[end]))
            end++;
        if (end == 0)
            return Arguments.None;
        var next = end;
        while (next < bytes.Length && char.IsWhiteSpace((char)bytes[next]))
            next++;
        var command = JsonOrText(Encoding.UTF8.GetString(bytes.AsSpan(next)));
        return new([Encoding.UTF8.GetString(bytes.AsSpan(0, end)), .. command.Values], command.IsJson);
    }

    private static Arguments Trigger(string rest, char escape, int depth)
    {
        // Chained triggers are refused later by the first inner name: splitting deeper only costs stack.
        if (rest.Length == 0 || depth == MaxTriggerDepth)
            return Arguments.None;
        var inner = Split(rest, escape, [], depth + 1);
        return new([inner.Name, .. inner.Arguments], false, inner);
    }

    private readonly record struct Arguments(IReadOnlyList<string> Values, bool IsJson, DockerfileNode? Inner = null)
    {
        public static Arguments None => new([], false);
    }
}

/// <summary>Takes the flags from the start of an instruction's text. Works on bytes, always with backslash.</summary>
internal static class FlagSplitter
{
    public static (IReadOnlyList<string> Flags, string Remainder) Split(string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        var flags = new List<string>();
        var position = 0;
        while (true)
        {
            while (position < bytes.Length && char.IsWhiteSpace((char)bytes[position]))
                position++;
            if (position == bytes.Length)
                return (flags, "");
            if (!bytes.AsSpan(position).StartsWith("--"u8))
                return (flags, Encoding.UTF8.GetString(bytes.AsSpan(position)));
            var (word, quoted) = ReadWord(bytes, ref position);
            if (word is "--")
                return (flags, Encoding.UTF8.GetString(bytes.AsSpan(position)));
            if (quoted || word.Length > 0)
                flags.Add(word);
        }
    }

    private static (string Word, bool Quoted) ReadWord(byte[] bytes, ref int position)
    {
        var word = new StringBuilder();
        var quoted = false;
        var quote = '\0';
        for (; position < bytes.Length; position++)
        {
            var c = (char)bytes[position];
            if (quote == '\0' && char.IsWhiteSpace(c))
                break;
            if (quote == '\0' && c is '\'' or '"')
            {
                quote = c;
                quoted = true;
            }
            else if (quote != '\0' && c == quote)
            {
                quote = '\0';
            }
            else if (c != '\\')
            {
                word.Append(c);
            }
            else if (position + 1 < bytes.Length)
            {
                word.Append((char)bytes[++position]);
            }
        }
        return (word.ToString(), quoted);
    }
}
