using System.Text;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Dockerfile;

/// <summary>Damages the Dockerfiles of the golden vectors; the same seed gives the same text.</summary>
internal sealed class DockerfileMutator(int seed)
{
    private static readonly string[] Tokens =
    [
        "FROM", "RUN", "COPY", "ADD", "ARG", "ENV", "ONBUILD ", "HEALTHCHECK", "SHELL", "\\", "`", "<<EOF", "<<-\"E O F\"", "EOF\n", "$", "${", "${A:-", "}", "${X//",
        "\"", "'", "[", "]", "[\"a\",", "--from=", "--mount=type=cache,", "--link", "--chmod=", "--platform=$X", " AS ", "#", "# check=error=true\n", "=", ",", "\n", "\r\n", "\t",
        "\0", "\uFEFF", "日", "\U0001F600", "\u0085", "\u2028", "/", "..", "http://h/x", "https://h/x.git#a:b", "git@h:x", "sha256:", "-1", "99999999999999999999", "*", "?",
        "# escape=`\n", "\\\n", " \\\n\n# c\n", "<<\"", "<<'A\n", "0<<B 1<<C\n", "--", "--x",
    ];

    private readonly string[] _files = [.. GoldenVector.Names.Select(static n => Golden.Path("dockerfile", n, "dockerfile", "Dockerfile")).Where(File.Exists).Select(File.ReadAllText)];
    private readonly Random _random = new(seed);

    /// <summary>The next damaged Dockerfile.</summary>
    public string Next()
    {
        var text = new StringBuilder(Pick());
        for (var edits = _random.Next(1, 6); edits > 0; edits--)
            Edit(text);
        return text.ToString();
    }

    private string Pick() => _files[_random.Next(_files.Length)];

    private void Edit(StringBuilder text)
    {
        var at = _random.Next(text.Length + 1);
        switch (_random.Next(40))
        {
            case < 9:
                text.Insert(at, Tokens[_random.Next(Tokens.Length)]);
                break;
            case < 16: // a few characters are lost
                text.Remove(at, Math.Min(_random.Next(1, 8), text.Length - at));
                break;
            case < 19: // the end is lost
                text.Length = at;
                break;
            case < 23 when at < text.Length:
                text[at] = (char)_random.Next(1, 127);
                break;
            case < 26: // a stretch stands twice
                text.Insert(at, text.ToString(at, Math.Min(_random.Next(1, 200), text.Length - at)));
                break;
            case < 28: // the end of another file
                var other = Pick();
                text.Length = at;
                text.Append(other.AsSpan(_random.Next(other.Length + 1)));
                break;
            case < 30: // a heredoc whose end is missing
                text.Replace("EOF\n", "", 0, text.Length);
                text.Insert(Math.Min(at, text.Length), "\nRUN <<EOF\nx\n");
                break;
            case 30: // a line longer than a line may be, or just not
                text.Insert(at, new string("a \\\"$"[_random.Next(5)], 65_535 - _random.Next(3) + _random.Next(2) * 10));
                break;
            case 31: // long once it is joined
                text.Insert(at, string.Concat(Enumerable.Repeat(new string('x', 30_000) + "\\\n", 4)));
                break;
            case 32:
                text.Replace("\n", "\r\n", 0, text.Length);
                break;
            case 33:
                text.Insert(at, "\0\0\0");
                break;
            case 34 when at < text.Length: // quotes of the other kind, or none
                text.Replace('"', "'\0`"[_random.Next(3)], at, text.Length - at);
                break;
            default:
                var lines = Pick().Split('\n');
                text.Insert(at, lines[_random.Next(lines.Length)] + "\n");
                break;
        }
    }
}
