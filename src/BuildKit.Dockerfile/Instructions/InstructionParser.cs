using System.Text.RegularExpressions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Instructions;

/// <summary>Checks the form of instructions: flags, number of arguments, names (spec 05 §4.1).</summary>
public sealed partial class InstructionParser(DockerfileFeatures features, Linter linter)
{
    private static readonly string[] InstructionNames =
    [
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
        "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    ];

    [GeneratedRegex(@"^[a-z][a-z0-9-_.]*\z", RegexOptions.CultureInvariant)]
    private static partial Regex StageName();

    [GeneratedRegex(@"^[\t\n\f\r ]*[oO][nN][bB][uU][iI][lL][dD][\t\n\f\r ]*", RegexOptions.CultureInvariant)]
    private static partial Regex OnBuildPrefix();

    /// <summary>Parses all instructions and groups them by stage.</summary>
    /// <exception cref="DockerfileException">An instruction is wrong; positioned.</exception>
    public DockerfileProgram ParseProgram(ParsedDockerfile dockerfile)
    {
        var globals = new List<ArgInstruction>();
        var stages = new List<(FromInstruction From, List<Instruction> Instructions)>();
        foreach (var node in dockerfile.Nodes)
        {
            Instruction instruction;
            try
            {
                instruction = Parse(node);
            }
            catch (DockerfileException e)
            {
                throw new DockerfileException($"dockerfile parse error on line {node.StartLine}: {e.Message}", e);
            }
            if (instruction is FromInstruction from)
                stages.Add((from, []));
            else if (stages.Count > 0)
                stages[^1].Instructions.Add(instruction);
            else if (instruction is ArgInstruction arg)
                globals.Add(arg);
            else
                throw new DockerfileException("no build stage in current context").At(node.Location);
        }
        if (stages.Count == 0)
            throw new DockerfileException("dockerfile contains no stages to build");
        return new DockerfileProgram(globals, [.. stages.Select(static s => new StageDefinition(s.From, s.Instructions))]);
    }

    /// <summary>Parses one instruction.</summary>
    /// <exception cref="DockerfileException">It is wrong; positioned.</exception>
    public Instruction Parse(DockerfileNode node)
    {
        try
        {
            return node.Name.ToLowerInvariant() switch
            {
                "add" => ParseCopy(node, "ADD"),
                "arg" => ParseArg(node),
                "cmd" => With(node, new CmdInstruction(Command(node, NoFlags(node)))),
                "copy" => ParseCopy(node, "COPY"),
                "entrypoint" => With(node, new EntrypointInstruction(Command(node, NoFlags(node)))),
                "env" => With(node, new EnvInstruction(KeyValues(node, "ENV"))),
                "expose" => With(node, new ExposeInstruction(Ports(node))),
                "from" => ParseFrom(node),
                "healthcheck" => With(node, new HealthCheckInstruction(HealthChecks.Parse(node))),
                "label" => With(node, new LabelInstruction(KeyValues(node, "LABEL"))),
                "maintainer" => ParseMaintainer(node),
                "onbuild" => With(node, new OnBuildInstruction(Trigger(node))),
                "run" => ParseRun(node),
                "shell" => With(node, new ShellInstruction(Shell(node))),
                "stopsignal" => With(node, new StopSignalInstruction(OneArgument(node, "STOPSIGNAL"))),
                "user" => With(node, new UserInstruction(OneArgument(node, "USER", checkFlags: true))),
                "volume" => With(node, new VolumeInstruction(Volumes(node))),
                "workdir" => With(node, new WorkdirInstruction(OneArgument(node, "WORKDIR", checkFlags: true))),
                _ => throw Suggestion.Error($"unknown instruction: {node.Name}", node.Name, InstructionNames, caseSensitive: false),
            };
        }
        catch (DockerfileException e)
        {
            throw e.At(node.Location);
        }
    }

    private static T With<T>(DockerfileNode node, T instruction)
        where T : Instruction =>
        instruction with { Name = node.Name, Source = node.Original.Trim(), Location = node.Location };

    private FromInstruction ParseFrom(DockerfileNode node)
    {
        var arguments = node.Arguments;
        if (arguments.Count == 3 && !IsLower(arguments[2]))
            linter.Report(LintRule.StageNameCasing, $"Stage name '{arguments[2]}' should be lowercase", node.Location);
        if (arguments.Count >= 3 && !SameCase(node.Name, arguments[1]))
            linter.Report(LintRule.FromAsCasing, $"'{arguments[1]}' and '{node.Name}' keywords' casing do not match", node.Location);
        var stage = "";
        if (arguments.Count == 3 && string.Equals(arguments[1], "as", StringComparison.OrdinalIgnoreCase))
        {
            stage = arguments[2].ToLowerInvariant();
            if (!StageName().IsMatch(stage))
                throw new DockerfileException($"invalid name for build stage: {GoQuote.Quote(arguments[2])}, name can't start with a number or contain symbols");
        }
        else if (arguments.Count != 1)
        {
            throw new DockerfileException("FROM requires either one or three arguments");
        }
        var flags = new FlagSet().Text("platform").Read(node.Flags);
        if (stage.Length > 0)
            CheckDescription("FROM", [stage], node);
        return With(node, new FromInstruction(arguments[0], stage, flags.Get("platform"), Description(node, stage)));
    }

    private ArgInstruction ParseArg(DockerfileNode node)
    {
        AtLeastOne(node, "ARG");
        var definitions = new List<ArgDefinition>();
        foreach (var word in node.Arguments)
        {
            var equal = word.IndexOf('=', StringComparison.Ordinal);
            if (equal == 0)
                throw new DockerfileException("ARG names can not be blank");
            var key = equal < 0 ? word : word[..equal];
            definitions.Add(new ArgDefinition(key, equal < 0 ? null : word[(equal + 1)..], Description(node, key)));
        }
        CheckDescription("ARG", definitions.ConvertAll(static d => d.Key), node);
        return With(node, new ArgInstruction(definitions));
    }

    private MaintainerInstruction ParseMaintainer(DockerfileNode node)
    {
        linter.Report(LintRule.MaintainerDeprecated, "Maintainer instruction is deprecated in favor of using label", node.Location);
        return With(node, new MaintainerInstruction(OneArgument(node, "MAINTAINER", checkFlags: true)));
    }

    private CopyInstruction ParseCopy(DockerfileNode node, string name)
    {
        var isAdd = name is "ADD";
        if (node.Arguments.Count < 2)
            throw new DockerfileException($"{name} requires at least two arguments, but only one was provided. Destination could not be determined");
        var flags = new FlagSet().Text("chown", "chmod").Bool("link");
        if (isAdd)
            flags.Bool("keep-git-dir").Text("checksum");
        else
            flags.Text("from");
        if (features.Excludes)
            flags.List("exclude");
        if (features.Parents && !isAdd)
            flags.Bool("parents");
        if (features.Unpack && isAdd)
            flags.Bool("unpack");
        flags.Read(node.Flags);
        var destination = node.Arguments[^1];
        if (HeredocReader.TryParse(destination) is not null)
            throw new DockerfileException($"{name} cannot accept a heredoc as a destination");
        var paths = new List<string>();
        var files = new List<InlineFile>();
        foreach (var source in node.Arguments.Take(node.Arguments.Count - 1))
        {
            if (HeredocReader.TryParse(source) is { } heredoc)
                files.Add(InlineFile(heredoc, node.Heredocs));
            else
                paths.Add(source);
        }
        return With(node, new CopyInstruction
        {
            IsAdd = isAdd,
            Sources = paths,
            Files = files,
            Destination = destination,
            From = flags.Get("from"),
            Chown = flags.Get("chown"),
            Chmod = flags.Get("chmod"),
            Checksum = flags.Get("checksum"),
            Link = flags.IsSet("link"),
            Parents = flags.IsSet("parents"),
            KeepGitDir = flags.IsSet("keep-git-dir"),
            Unpack = flags.All("unpack") is [var unpack] ? unpack is "true" : null,
            Excludes = flags.All("exclude"),
        });
    }

    /// <summary>The content is found by name; of equal names the last one counts.</summary>
    private static InlineFile InlineFile(Heredoc word, IReadOnlyList<Heredoc> bodies)
    {
        var content = bodies.LastOrDefault(b => string.Equals(b.Name, word.Name, StringComparison.Ordinal))?.Content ?? "";
        return new InlineFile(word.Name, word.Chomp ? HeredocReader.Chomp(content) : content, word.Expand);
    }

    private RunInstruction ParseRun(DockerfileNode node)
    {
        var flags = new FlagSet().List("device", "mount").Text("network");
        if (features.Security)
            flags.Text("security");
        flags.Read(node.Flags);
        var command = Command(node, node.Arguments);
        var devices = flags.All("device").Select(DeviceOption.Parse).ToList();
        var mounts = flags.All("mount").Select(static text => MountOption.Parse(text, null)).ToList();
        var network = flags.Get("network", "default");
        if (network is not ("default" or "none" or "host"))
            throw new DockerfileException($"invalid network mode {GoQuote.Quote(network)}");
        var security = flags.Get("security", "sandbox");
        if (security is not ("insecure" or "sandbox"))
            throw new DockerfileException($"security {GoQuote.Quote(security)} is not valid");
        return With(node, new RunInstruction(command)
        {
            MountTexts = flags.All("mount"),
            Mounts = mounts,
            Network = network,
            Security = security,
            Devices = devices,
        });
    }

    private static CommandLine Command(DockerfileNode node, IReadOnlyList<string> arguments) =>
        new(JoinedArguments(arguments, node.IsJson), !node.IsJson, node.Heredocs);

    internal static IReadOnlyList<string> JoinedArguments(IReadOnlyList<string> arguments, bool isJson) =>
        arguments.Count == 0 || isJson ? arguments : [string.Join(' ', arguments)];

    private static IReadOnlyList<string> NoFlags(DockerfileNode node)
    {
        new FlagSet().Read(node.Flags);
        return node.Arguments;
    }

    private static List<KeyValue> KeyValues(DockerfileNode node, string name)
    {
        var arguments = NoFlags(node);
        AtLeastOne(node, name);
        var pairs = new List<KeyValue>();
        for (var i = 0; i < arguments.Count; i += 3)
        {
            if (arguments[i].Length == 0)
                throw new DockerfileException($"{name} names can not be blank");
            pairs.Add(new KeyValue(arguments[i], arguments[i + 1], arguments[i + 2].Length == 0));
        }
        return pairs;
    }

    private static string[] Ports(DockerfileNode node)
    {
        AtLeastOne(node, "EXPOSE");
        var ports = NoFlags(node).ToArray();
        Array.Sort(ports, string.CompareOrdinal);
        return ports;
    }

    private static List<string> Volumes(DockerfileNode node)
    {
        AtLeastOne(node, "VOLUME");
        var volumes = NoFlags(node).Select(static v => v.Trim()).ToList();
        return volumes.TrueForAll(static v => v.Length > 0) ? volumes : throw new DockerfileException("VOLUME specified can not be an empty string");
    }

    private static IReadOnlyList<string> Shell(DockerfileNode node)
    {
        NoFlags(node);
        AtLeastOne(node, "SHELL");
        return node.IsJson ? node.Arguments : throw new DockerfileException("SHELL requires the arguments to be in JSON form");
    }

    private static string Trigger(DockerfileNode node)
    {
        AtLeastOne(node, "ONBUILD");
        NoFlags(node);
        var name = node.Arguments[0].Trim().ToUpperInvariant();
        if (name is "ONBUILD")
            throw new DockerfileException("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        if (name is "MAINTAINER" or "FROM")
            throw new DockerfileException($"{name} isn't allowed as an ONBUILD trigger");
        var expression = OnBuildPrefix().Replace(node.Original, "");
        foreach (var heredoc in node.Heredocs)
            expression += "\n" + heredoc.Content + heredoc.Name;
        return expression;
    }

    private static string OneArgument(DockerfileNode node, string name, bool checkFlags = false)
    {
        if (node.Arguments.Count != 1)
            throw new DockerfileException($"{name} requires exactly one argument");
        return checkFlags ? NoFlags(node)[0] : node.Arguments[0];
    }

    private static void AtLeastOne(DockerfileNode node, string name)
    {
        if (node.Arguments.Count == 0)
            throw new DockerfileException($"{name} requires at least one argument");
    }

    private static string Description(DockerfileNode node, string name)
    {
        var line = name.Length == 0 ? null : node.Comments.FirstOrDefault(c => c.StartsWith(name + " ", StringComparison.Ordinal));
        return line is null ? "" : line[(name.Length + 1)..];
    }

    private void CheckDescription(string instruction, IReadOnlyList<string> keys, DockerfileNode node)
    {
        if (node.Comments.Count == 0 || keys.Count == 0 || keys.Contains(node.Comments[^1].Split(' ')[0], StringComparer.Ordinal))
            return;
        var example = keys.Count > 1 ? "<arg_key>" : keys[0];
        linter.Report(
            LintRule.InvalidDefinitionDescription,
            $"Comment for {instruction} should follow the format: `# {example} <description>`",
            node.Location);
    }

    /// <summary>Whether AS has the case of FROM; a FROM of mixed case is another rule's matter.</summary>
    private static bool SameCase(string from, string @as) =>
        IsLower(from) ? IsLower(@as) : !IsUpper(from) || IsUpper(@as);

    internal static bool IsLower(string text) => string.Equals(text, text.ToLowerInvariant(), StringComparison.Ordinal);

    internal static bool IsUpper(string text) => string.Equals(text, text.ToUpperInvariant(), StringComparison.Ordinal);
}

/// <summary><c>HEALTHCHECK</c>.</summary>
internal static class HealthChecks
{
    private const long Minimum = 1_000_000;

    public static HealthCheck Parse(DockerfileNode node)
    {
        if (node.Arguments.Count == 0)
            throw new DockerfileException("HEALTHCHECK requires at least one argument");
        var type = node.Arguments[0].ToUpperInvariant();
        var arguments = node.Arguments.Skip(1).ToList();
        if (type is "NONE")
            return arguments.Count == 0 ? new HealthCheck(["NONE"]) : throw new DockerfileException("HEALTHCHECK NONE takes no arguments");
        var flags = new FlagSet().Text("interval", "timeout", "start-period", "start-interval", "retries").Read(node.Flags);
        if (type is not "CMD")
            throw new DockerfileException($"Unknown type {GoQuote.Quote(type)} in HEALTHCHECK (try CMD)");
        if (arguments.Count == 0)
            throw new DockerfileException("Missing command after HEALTHCHECK CMD");
        var interval = Duration(flags, "interval");
        var timeout = Duration(flags, "timeout");
        var startPeriod = Duration(flags, "start-period");
        var startInterval = Duration(flags, "start-interval");
        return new HealthCheck(
            [node.IsJson ? "CMD" : "CMD-SHELL", .. InstructionParser.JoinedArguments(arguments, node.IsJson)],
            interval,
            timeout,
            startPeriod,
            startInterval,
            Retries(flags.Get("retries")));
    }

    private static int Retries(string text)
    {
        if (text.Length == 0)
            return 0;
        var retries = GoNumber.ParseInt(text, 32);
        return retries >= 0 ? (int)retries : throw new DockerfileException($"--retries cannot be negative ({retries})");
    }

    private static long Duration(FlagSet flags, string name)
    {
        var text = flags.Get(name);
        if (text.Length == 0)
            return 0;
        try
        {
            var duration = GoDuration.ParseNanoseconds(text);
            return duration is 0 or >= Minimum ? duration : throw new DockerfileException($"Interval {GoQuote.Quote(name)} cannot be less than 1ms");
        }
        catch (FormatException e)
        {
            throw new DockerfileException(e.Message, e);
        }
    }
}
