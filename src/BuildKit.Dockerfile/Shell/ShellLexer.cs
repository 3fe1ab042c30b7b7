using System.Text;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Shell;

/// <summary>How a text is lexed (spec 05 §3).</summary>
/// <param name="EscapeToken">Backslash or backtick.</param>
public sealed record ShellOptions(char EscapeToken)
{
    /// <summary>Quote characters stay.</summary>
    public bool RawQuotes { get; init; }

    /// <summary>Escape characters stay.</summary>
    public bool RawEscapes { get; init; }

    /// <summary>Quotes are ordinary characters.</summary>
    public bool SkipProcessQuotes { get; init; }

    /// <summary>References to unset variables stay as written.</summary>
    public bool SkipUnset { get; init; }
}

/// <summary>What became of a text.</summary>
/// <param name="Word">Everything joined.</param>
/// <param name="Words">Split at unquoted white space.</param>
/// <param name="Matched">Variables that were set.</param>
/// <param name="Unmatched">Variables that were not, in order of first use.</param>
public sealed record ShellExpansion(string Word, IReadOnlyList<string> Words, IReadOnlyList<string> Matched, IReadOnlyList<string> Unmatched);

/// <summary>Expands variables and removes quotes like a small shell (spec 05 §3).</summary>
public static class ShellLexer
{
    /// <summary>Expands a text.</summary>
    /// <exception cref="DockerfileException">The text has a syntax error, or a <c>:?</c> demand fails.</exception>
    public static ShellExpansion Expand(string text, IShellEnvironment environment, ShellOptions options) =>
        Expand(text, environment, options, out _);

    /// <summary>As <see cref="Expand(string, IShellEnvironment, ShellOptions)"/>; the variables met before a
    /// failure are given even when it throws.</summary>
    internal static ShellExpansion Expand(string text, IShellEnvironment environment, ShellOptions options, out ShellReferences references)
    {
        var lexing = new ShellLexing(text, environment, options);
        references = lexing.References;
        try
        {
            var (word, words) = lexing.ReadUntil(ShellLexing.End, options.RawEscapes);
            return new ShellExpansion(word, words, references.Matched, references.Unmatched);
        }
        catch (ShellSyntaxException e)
        {
            throw new DockerfileException($"failed to process {GoQuote.Quote(text)}: {e.Message}", e);
        }
    }
}

/// <summary>Variables met while lexing.</summary>
internal sealed class ShellReferences
{
    private readonly List<string> _matched = [];
    private readonly List<string> _unmatched = [];

    public IReadOnlyList<string> Matched => _matched;

    public IReadOnlyList<string> Unmatched => _unmatched;

    public void Note(string name, bool set)
    {
        var list = set ? _matched : _unmatched;
        if (!list.Contains(name, StringComparer.Ordinal))
            list.Add(name);
    }
}

/// <summary>A problem in the text being lexed, without the text around it.</summary>
internal sealed class ShellSyntaxException(string message) : Exception(message);

/// <summary>The words of one lexing level; the buffer of the open word is shared by all levels, so that a nested
/// level loses what its outer one had (spec 05 §3, quirk).</summary>
internal sealed class WordSplitter(StringBuilder open)
{
    private readonly List<string> _words = [];
    private bool _inWord;

    public void Add(Rune rune)
    {
        if (!Rune.IsWhiteSpace(rune))
            AddRaw(rune.ToString());
        else if (_inWord)
            Close();
    }

    public void AddRaw(string text)
    {
        open.Append(text);
        _inWord = true;
    }

    public List<string> Finish()
    {
        Close();
        return _words;
    }

    private void Close()
    {
        if (open.Length == 0)
            return;
        _words.Add(open.ToString());
        open.Clear();
        _inWord = false;
    }
}
