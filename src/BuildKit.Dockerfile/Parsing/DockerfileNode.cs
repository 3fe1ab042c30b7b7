namespace BuildKit.Dockerfile.Parsing;

/// <summary>An inline document of an instruction (spec 05 §2.5).</summary>
/// <param name="Name">Name, unquoted; also the terminator.</param>
/// <param name="FileDescriptor">Number in front of <c>&lt;&lt;</c>; 0 when absent.</param>
/// <param name="Expand">Whether variables in the content are expanded: the name was not quoted.</param>
/// <param name="Chomp">Whether leading tabs are removed: <c>&lt;&lt;-</c>.</param>
/// <param name="Content">The lines as written, with line ends and tabs.</param>
public sealed record Heredoc(string Name, uint FileDescriptor, bool Expand, bool Chomp, string Content);

/// <summary>One instruction as text: name, flags and arguments split, meaning not checked yet.</summary>
public sealed record DockerfileNode
{
    /// <summary>Instruction name as written.</summary>
    public required string Name { get; init; }

    /// <summary>The joined text of the instruction without heredoc bodies.</summary>
    public required string Original { get; init; }

    /// <summary>Words starting with <c>--</c>, quotes removed.</summary>
    public required IReadOnlyList<string> Flags { get; init; }

    /// <summary>Arguments after the line parser of the instruction; for <c>ONBUILD</c> the name and the
    /// arguments of the inner instruction, for <c>ENV</c> and <c>LABEL</c> triples of name, value and
    /// separator (<c>=</c> or empty).</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Whether the arguments came from a JSON list.</summary>
    public required bool IsJson { get; init; }

    /// <summary>The instruction inside <c>ONBUILD</c>.</summary>
    public DockerfileNode? Inner { get; init; }

    /// <summary>Inline documents in order.</summary>
    public IReadOnlyList<Heredoc> Heredocs { get; init; } = [];

    /// <summary>Comments above the instruction.</summary>
    public IReadOnlyList<string> Comments { get; init; } = [];

    /// <summary>First physical line.</summary>
    public int StartLine { get; init; }

    /// <summary>Last physical line, heredoc terminators included.</summary>
    public int EndLine { get; init; }

    /// <summary>One range per line.</summary>
    public IReadOnlyList<SourceRange> Location => SourceRange.OfLines(StartLine, EndLine);
}

/// <summary>A note of the parser that is no error.</summary>
/// <param name="Message">Short text.</param>
/// <param name="Location">Where.</param>
public sealed record ParserWarning(string Message, SourceRange Location);

/// <summary>A Dockerfile split into instructions.</summary>
/// <param name="Nodes">Instructions in order; never empty.</param>
/// <param name="EscapeToken">The escape token in force.</param>
/// <param name="Warnings">Notes about empty continuation lines.</param>
public sealed record ParsedDockerfile(IReadOnlyList<DockerfileNode> Nodes, char EscapeToken, IReadOnlyList<ParserWarning> Warnings)
{
    /// <summary>Directives at the top, in order.</summary>
    public IReadOnlyList<Directive> Directives { get; init; } = [];
}
