using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Instructions;

/// <summary>An instruction whose form has been checked.</summary>
public abstract record Instruction
{
    /// <summary>Name as written.</summary>
    public string Name { get; init; } = "";

    /// <summary>The text of the instruction, trimmed, without heredoc bodies.</summary>
    public string Source { get; init; } = "";

    /// <summary>One range per line.</summary>
    public IReadOnlyList<SourceRange> Location { get; init; } = [];
}

/// <summary>A name with a value.</summary>
/// <param name="Key">Name.</param>
/// <param name="Value">Value.</param>
/// <param name="IsLegacy">Whether it was written without an equal sign.</param>
public sealed record KeyValue(string Key, string Value, bool IsLegacy)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Key}={Value}";
}

/// <summary>A declared build argument.</summary>
/// <param name="Key">Name.</param>
/// <param name="Value">Default or resolved value; null when there is none.</param>
/// <param name="Description">Text of the comment above.</param>
public sealed record ArgDefinition(string Key, string? Value, string Description);

/// <summary>A file written inside the Dockerfile.</summary>
/// <param name="Path">File name.</param>
/// <param name="Data">Content, tabs removed where asked for.</param>
/// <param name="Expand">Whether variables are expanded.</param>
public sealed record InlineFile(string Path, string Data, bool Expand);

/// <summary>A command line, run by a shell or as it is.</summary>
/// <param name="Arguments">Arguments; one text in shell form.</param>
/// <param name="IsShellForm">Whether the shell is put in front.</param>
/// <param name="Heredocs">Inline documents.</param>
public sealed record CommandLine(IReadOnlyList<string> Arguments, bool IsShellForm, IReadOnlyList<Heredoc> Heredocs);

/// <summary>How a container's health is found out; durations in nanoseconds, 0 for the default.</summary>
public sealed record HealthCheck(IReadOnlyList<string> Test, long Interval = 0, long Timeout = 0, long StartPeriod = 0, long StartInterval = 0, int Retries = 0);

/// <summary><c>FROM</c>.</summary>
public sealed record FromInstruction(string BaseName, string StageName, string Platform, string Description) : Instruction;

/// <summary><c>ENV</c>.</summary>
public sealed record EnvInstruction(IReadOnlyList<KeyValue> Variables) : Instruction;

/// <summary><c>LABEL</c>.</summary>
public sealed record LabelInstruction(IReadOnlyList<KeyValue> Labels) : Instruction;

/// <summary><c>ARG</c>.</summary>
public sealed record ArgInstruction(IReadOnlyList<ArgDefinition> Arguments) : Instruction;

/// <summary><c>MAINTAINER</c>.</summary>
public sealed record MaintainerInstruction(string Maintainer) : Instruction;

/// <summary><c>COPY</c> and <c>ADD</c>.</summary>
public sealed record CopyInstruction : Instruction
{
    /// <summary>Whether it is <c>ADD</c>.</summary>
    public required bool IsAdd { get; init; }

    /// <summary>Sources that are paths or addresses.</summary>
    public required IReadOnlyList<string> Sources { get; init; }

    /// <summary>Sources written inside the Dockerfile.</summary>
    public required IReadOnlyList<InlineFile> Files { get; init; }

    /// <summary>Destination.</summary>
    public required string Destination { get; init; }

    /// <summary><c>--from</c>.</summary>
    public string From { get; init; } = "";

    /// <summary><c>--chown</c>.</summary>
    public string Chown { get; init; } = "";

    /// <summary><c>--chmod</c>.</summary>
    public string Chmod { get; init; } = "";

    /// <summary><c>--checksum</c>.</summary>
    public string Checksum { get; init; } = "";

    /// <summary><c>--link</c>.</summary>
    public bool Link { get; init; }

    /// <summary><c>--parents</c>.</summary>
    public bool Parents { get; init; }

    /// <summary><c>--keep-git-dir</c>.</summary>
    public bool KeepGitDir { get; init; }

    /// <summary><c>--unpack</c>: whether archives are unpacked; null where that depends on the kind of source. The
    /// flag is younger than the version this frontend follows otherwise.</summary>
    public bool? Unpack { get; init; }

    /// <summary><c>--exclude</c>.</summary>
    public IReadOnlyList<string> Excludes { get; init; } = [];
}

/// <summary><c>RUN</c>.</summary>
public sealed record RunInstruction(CommandLine Command) : Instruction
{
    /// <summary><c>--mount</c>; variables are not expanded yet and only <c>from</c> has been read.</summary>
    public IReadOnlyList<string> MountTexts { get; init; } = [];

    /// <summary><c>--mount</c> as far as known: <c>from</c> only until <see cref="MountOption.Parse"/> was
    /// called again with variables.</summary>
    public IReadOnlyList<MountOption> Mounts { get; init; } = [];

    /// <summary><c>--network</c>.</summary>
    public string Network { get; init; } = "default";

    /// <summary><c>--security</c>.</summary>
    public string Security { get; init; } = "sandbox";

    /// <summary><c>--device</c>.</summary>
    public IReadOnlyList<DeviceOption> Devices { get; init; } = [];
}

/// <summary><c>CMD</c>.</summary>
public sealed record CmdInstruction(CommandLine Command) : Instruction;

/// <summary><c>ENTRYPOINT</c>.</summary>
public sealed record EntrypointInstruction(CommandLine Command) : Instruction;

/// <summary><c>HEALTHCHECK</c>.</summary>
public sealed record HealthCheckInstruction(HealthCheck Health) : Instruction;

/// <summary><c>EXPOSE</c>.</summary>
public sealed record ExposeInstruction(IReadOnlyList<string> Ports) : Instruction;

/// <summary><c>USER</c>.</summary>
public sealed record UserInstruction(string User) : Instruction;

/// <summary><c>VOLUME</c>.</summary>
public sealed record VolumeInstruction(IReadOnlyList<string> Volumes) : Instruction;

/// <summary><c>STOPSIGNAL</c>.</summary>
public sealed record StopSignalInstruction(string Signal) : Instruction;

/// <summary><c>SHELL</c>.</summary>
public sealed record ShellInstruction(IReadOnlyList<string> Shell) : Instruction;

/// <summary><c>WORKDIR</c>.</summary>
public sealed record WorkdirInstruction(string Path) : Instruction;

/// <summary><c>ONBUILD</c>.</summary>
public sealed record OnBuildInstruction(string Expression) : Instruction;

/// <summary>A stage: <c>FROM</c> and what follows it.</summary>
public sealed record StageDefinition(FromInstruction From, IReadOnlyList<Instruction> Instructions);

/// <summary>The instructions of a Dockerfile.</summary>
/// <param name="GlobalArguments"><c>ARG</c> before the first <c>FROM</c>.</param>
/// <param name="Stages">Stages in order.</param>
public sealed record DockerfileProgram(IReadOnlyList<ArgInstruction> GlobalArguments, IReadOnlyList<StageDefinition> Stages);

/// <summary>Instruction features that the labs frontend has and the built-in one has not (spec 05 §4.1).</summary>
/// <param name="Security"><c>RUN --security</c>.</param>
/// <param name="Parents"><c>COPY --parents</c>.</param>
/// <param name="Excludes"><c>COPY --exclude</c>, <c>ADD --exclude</c>.</param>
/// <param name="Devices">Use of <c>RUN --device</c>.</param>
public sealed record DockerfileFeatures(bool Security = false, bool Parents = false, bool Excludes = false, bool Devices = false)
{
    /// <summary>What the frontend built into a daemon has.</summary>
    public static DockerfileFeatures Mainline { get; } = new();

    /// <summary>Everything.</summary>
    public static DockerfileFeatures Labs { get; } = new(true, true, true, true);
}
