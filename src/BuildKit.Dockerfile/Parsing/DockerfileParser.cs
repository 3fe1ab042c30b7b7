using System.Text;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>Splits a Dockerfile into instructions: lines, continuations, comments, directives, heredocs
/// (spec 05 §2).</summary>
public static class DockerfileParser
{
    /// <summary>Longest physical line in bytes, without its line end.</summary>
    public const int MaxLineLength = 65535;

    /// <summary>Parses the bytes of a Dockerfile.</summary>
    /// <exception cref="DockerfileException">The text is no Dockerfile; positioned.</exception>
    public static ParsedDockerfile Parse(ReadOnlySpan<byte> dockerfile) => new Run(PhysicalLines.Split(dockerfile)).Parse();

    /// <summary>Parses text, for example the trigger of an image.</summary>
    public static ParsedDockerfile Parse(string dockerfile) => Parse(Encoding.UTF8.GetBytes(dockerfile));

    /// <summary>The state of one pass over the lines.</summary>
    private sealed class Run(PhysicalLines lines)
    {
        private readonly DirectiveReader _directives = new();
        private readonly List<Directive> _found = [];
        private readonly List<DockerfileNode> _nodes = [];
        private readonly List<ParserWarning> _warnings = [];
        private List<string> _comments = [];
        private char _escape = '\\';
        private int _current;
        private int _next;

        public ParsedDockerfile Parse()
        {
            while (_next < lines.Count)
            {
                var physical = lines[_next++];
                NoteComment(physical);
                var text = FirstLine(physical);
                _current++;
                var start = _current;
                var ended = !TrimContinuation(ref text);
                if (ended && text.Length == 0)
                    continue;
                AddInstruction(start, ended ? text : text + ReadContinuation());
            }
            if (_nodes.Count == 0)
                throw new DockerfileException("file with no instructions").At(SourceRange.OfLines(_current, 0));
            if (lines.TooLong)
                throw new DockerfileException($"dockerfile line greater than max allowed size of {MaxLineLength}").At(SourceRange.OfLines(_current, 0));
            return new ParsedDockerfile(_nodes, _escape, _warnings) { Directives = _found };
        }

        private void NoteComment(string physical)
        {
            if (!IsComment(physical))
                return;
            // The first character is dropped, not the '#': an indented comment keeps it (spec 05 §2.1).
            var comment = physical[1..].Trim();
            if (comment.Length == 0)
                _comments = [];
            else
                _comments.Add(comment);
        }

        private string FirstLine(string physical)
        {
            var text = physical.TrimEnd('\r', '\n').TrimStart();
            try
            {
                if (_directives.Read(text) is { } directive)
                {
                    _comments.RemoveAt(_comments.Count - 1);
                    _found.Add(directive);
                    if (directive.Name is "escape")
                        SetEscape(directive.Value);
                }
            }
            catch (DockerfileException e)
            {
                throw e.At(SourceRange.OfLines(_current, 0)); // one line too high, as the reference says it
            }
            return IsComment(text) ? "" : text;
        }

        private void SetEscape(string value)
        {
            if (value is not ("`" or "\\"))
                throw new DockerfileException($"invalid escape token '{value}' does not match ` or \\");
            _escape = value[0];
        }

        private string ReadContinuation()
        {
            var joined = new StringBuilder();
            var hasEmptyLine = false;
            var goesOn = true;
            while (goesOn && _next < lines.Count)
            {
                var text = lines[_next++].TrimEnd('\r', '\n');
                _current++;
                if (IsComment(text))
                    continue;
                if (string.IsNullOrWhiteSpace(text))
                {
                    hasEmptyLine = true;
                    continue;
                }
                goesOn = TrimContinuation(ref text);
                joined.Append(text);
            }
            _emptyContinuation = hasEmptyLine;
            return joined.ToString();
        }

        private bool _emptyContinuation;

        private void AddInstruction(int start, string line)
        {
            if (_emptyContinuation)
            {
                _warnings.Add(new ParserWarning("Empty continuation line found in: " + line, SourceRange.OfLine(_current)));
                _emptyContinuation = false;
            }
            DockerfileNode node;
            try
            {
                node = InstructionSplitter.Split(line, _escape, _comments);
                if (AcceptsHeredocs(node) && line.Contains("<<", StringComparison.Ordinal))
                    node = node with { Heredocs = HeredocReader.Find(line).ConvertAll(ReadHeredoc) };
            }
            catch (DockerfileException e)
            {
                throw e.At(SourceRange.OfLines(start, _current));
            }
            _nodes.Add(node with { StartLine = start, EndLine = _current });
            _comments = [];
        }

        private Heredoc ReadHeredoc(Heredoc heredoc)
        {
            var content = new StringBuilder();
            while (_next < lines.Count)
            {
                var physical = lines[_next++];
                _current++;
                var terminator = physical.TrimEnd('\r', '\n');
                if (heredoc.Chomp)
                    terminator = terminator.TrimStart('\t');
                if (string.Equals(terminator, heredoc.Name, StringComparison.Ordinal))
                    return heredoc with { Content = content.ToString() };
                content.Append(physical);
            }
            throw new DockerfileException("unterminated heredoc");
        }

        /// <summary>Removes the escape token (and blanks after it) at the end of a line; false when the line
        /// does not go on. A doubled token is text.</summary>
        private bool TrimContinuation(ref string line)
        {
            var trimmed = line.AsSpan().TrimEnd(" \t");
            if (trimmed.Length == 0 || trimmed[^1] != _escape)
                return false;
            if (trimmed.Length > 1 && trimmed[^2] == _escape)
                return false;
            line = trimmed[..^1].ToString();
            return true;
        }
    }

    private static bool IsComment(string line) => line.AsSpan().TrimStart().StartsWith("#");

    private static bool AcceptsHeredocs(DockerfileNode node)
    {
        var inner = string.Equals(node.Name, "onbuild", StringComparison.OrdinalIgnoreCase) ? node.Inner ?? node : node;
        return !inner.IsJson && inner.Name.ToLowerInvariant() is "add" or "copy" or "run" && !inner.IsJson;
    }
}

/// <summary>The physical lines of a file with their line ends.</summary>
internal sealed class PhysicalLines
{
    private readonly List<string> _lines = [];

    /// <summary>Number of lines before the end or the first line that is too long.</summary>
    public int Count => _lines.Count;

    /// <summary>Whether a line was too long; it and all after it are left out.</summary>
    public bool TooLong { get; private set; }

    /// <summary>Line by index from 0.</summary>
    public string this[int index] => _lines[index];

    /// <summary>Splits at LF, drops a byte order mark at the start.</summary>
    public static PhysicalLines Split(ReadOnlySpan<byte> bytes)
    {
        var result = new PhysicalLines();
        while (!bytes.IsEmpty)
        {
            var end = bytes.IndexOf((byte)'\n');
            var line = end < 0 ? bytes : bytes[..(end + 1)];
            if ((end < 0 ? line.Length : end) > DockerfileParser.MaxLineLength)
            {
                result.TooLong = true;
                return result;
            }
            bytes = bytes[line.Length..];
            if (result._lines.Count == 0 && line.StartsWith("\uFEFF"u8))
                line = line[3..];
            result._lines.Add(Encoding.UTF8.GetString(line));
        }
        return result;
    }
}
