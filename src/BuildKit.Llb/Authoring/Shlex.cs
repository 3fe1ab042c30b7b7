using System.Text;

namespace BuildKit.Llb;

/// <summary>Splits a command line into words: blanks separate, <c>'…'</c> is literal, <c>"…"</c> and unquoted text
/// know backslash escapes, <c>#</c> at the start of a word comments out the rest of the line. Nothing is expanded
/// (spec 02 §11.5.12).</summary>
public static class Shlex
{
    /// <summary>The words; those completed before an unterminated quote, when there is one.</summary>
    public static IReadOnlyList<string> Split(string line)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        var inWord = false;
        for (var i = 0; i < line.Length; i++)
        {
            var c = line[i];
            if (c is ' ' or '\t' or '\r' or '\n')
            {
                if (inWord)
                    words.Add(word.ToString());
                word.Clear();
                inWord = false;
            }
            else if (c == '#' && !inWord)
            {
                var end = line.IndexOf('\n', i);
                i = end < 0 ? line.Length : end;
            }
            else if (c is '\'' or '"')
            {
                inWord = true;
                i = Quoted(line, i, word);
                if (i < 0)
                    return words;
            }
            else
            {
                inWord = true;
                if (c == '\\' && ++i >= line.Length)
                    return words;
                word.Append(line[i]);
            }
        }

        if (inWord)
            words.Add(word.ToString());
        return words;
    }

    /// <summary>Appends what a quote encloses; answers where it ends, -1 when it does not.</summary>
    private static int Quoted(string line, int start, StringBuilder word)
    {
        var quote = line[start];
        for (var i = start + 1; i < line.Length; i++)
        {
            if (line[i] == quote)
                return i;
            if (quote == '"' && line[i] == '\\' && ++i >= line.Length)
                return -1;
            word.Append(line[i]);
        }

        return -1;
    }
}
