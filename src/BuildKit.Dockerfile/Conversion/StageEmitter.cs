using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>Applies the instructions of a stage to its state and image (spec 05 §5.4).</summary>
internal sealed class StageEmitter(ConversionScope scope)
{
    private const string ScanContextArgument = "BUILDKIT_SBOM_SCAN_CONTEXT";
    private const string ScanStageArgument = "BUILDKIT_SBOM_SCAN_STAGE";

    private readonly ConfigEmitter _config = new(scope);
    private readonly RunEmitter _run = new(scope);
    private readonly CopyEmitter _copy = new(scope);
    private readonly WorkdirEmitter _workdir = new(scope);

    /// <summary>Emits a stage whose base and sources have been emitted.</summary>
    /// <exception cref="DockerfileException">An instruction is wrong; positioned.</exception>
    public void Emit(Stage stage)
    {
        stage.InheritFromBase();
        stage.IsEmitted = true;
        stage.Platform ??= scope.Platforms.Target;
        TakeImageSettings(stage);
        foreach (var command in stage.Commands)
        {
            try
            {
                Emit(stage, command);
            }
            catch (DockerfileException e)
            {
                throw e.At(command.Instruction.Location);
            }
        }
        stage.ScanContext = IsScanned(stage, ScanContextArgument);
        stage.ScanStage = IsScanned(stage, ScanStageArgument);
    }

    /// <summary>Whether an argument never becomes a variable.</summary>
    public static bool IsOnlyArgument(string name) => name is ScanContextArgument or ScanStageArgument;

    private void TakeImageSettings(Stage stage)
    {
        var image = stage.Image;
        if (!image.Env.Exists(static e => e.Split('=', 2)[0] is "PATH"))
            image.Env.Add("PATH=" + StageImage.DefaultPath(stage.Platform!.Os));
        foreach (var entry in image.Env)
        {
            var parts = entry.Split('=', 2);
            stage.State = stage.State.AddEnv(parts[0], parts.Length == 2 ? parts[1] : "");
        }
        if (scope.Options.Hostname.Length > 0)
            stage.State = stage.State.Hostname(scope.Options.Hostname);
        if (image.WorkingDir.Length > 0)
            WorkdirEmitter.Change(stage, image.WorkingDir);
        if (image.User.Length > 0)
            stage.State = stage.State.User(image.User);
        stage.State = stage.State.Network(scope.Options.Network);
    }

    private void Emit(Stage stage, StageCommand command)
    {
        stage.InTrigger = command.IsTrigger;
        var expander = new InstructionExpander(scope, stage, command.Instruction.Location);
        switch (expander.Expand(command.Instruction))
        {
            case RunInstruction run:
                _run.Emit(stage, run, command.Sources);
                break;
            case CopyInstruction copy:
                _copy.Emit(stage, copy, command.Sources);
                break;
            case WorkdirInstruction workdir:
                _workdir.Emit(stage, workdir);
                break;
            case ArgInstruction arg:
                _config.Emit(stage, arg, expander);
                break;
            case var instruction:
                _config.Emit(stage, instruction);
                break;
        }
    }

    private bool IsScanned(Stage stage, string name)
    {
        var value = scope.Globals.TryGet(name, out var global) ? global : null;
        value = stage.Arguments.LastOrDefault(a => a.Value is not null && string.Equals(a.Key, name, StringComparison.Ordinal))?.Value ?? value;
        return value is not null && (GoNumber.ParseBool(value) ?? value.Split(',').Contains(stage.DisplayName, StringComparer.Ordinal));
    }
}

/// <summary>Expands the variables of an instruction and reports unknown ones.</summary>
internal sealed class InstructionExpander(ConversionScope scope, Stage stage, IReadOnlyList<SourceRange> location)
{
    private static readonly ShellOptions InlineFiles = new('\\') { SkipProcessQuotes = true };

    private readonly IShellEnvironment _environment = stage.Environment;

    /// <summary>The instruction with its variables expanded, each against the variables before it
    /// (spec 05 §4).</summary>
    public Instruction Expand(Instruction instruction) => instruction switch
    {
        EnvInstruction env => env with { Variables = Expand(env.Variables) },
        LabelInstruction label => label with { Labels = Expand(label.Labels) },
        WorkdirInstruction workdir => workdir with { Path = Expand(workdir.Path) },
        UserInstruction user => user with { User = Expand(user.User) },
        StopSignalInstruction stop => stop with { Signal = Expand(stop.Signal) },
        VolumeInstruction volume => volume with { Volumes = [.. volume.Volumes.Select(Expand)] },
        ExposeInstruction expose => expose with { Ports = [.. expose.Ports.SelectMany(p => ShellLexer.Expand(p, _environment, scope.Shell).Words)] },
        RunInstruction run => run with { Mounts = [.. run.MountTexts.Select(t => MountOption.Parse(t, Expand))] },
        CopyInstruction copy => Expand(copy),
        _ => instruction,
    };

    /// <summary>Expands one value.</summary>
    public string Expand(string text) => Expand(text, scope.Shell, _environment);

    /// <summary>Expands one value against other variables.</summary>
    public string Expand(string text, IShellEnvironment environment) => Expand(text, scope.Shell, environment);

    private List<KeyValue> Expand(IReadOnlyList<KeyValue> pairs)
    {
        var expanded = new List<KeyValue>(pairs.Count);
        foreach (var pair in pairs)
        {
            var key = Expand(pair.Key);
            expanded.Add(new KeyValue(key, Expand(pair.Value), pair.IsLegacy));
        }
        return expanded;
    }

    private CopyInstruction Expand(CopyInstruction copy) => copy with
    {
        Chown = Expand(copy.Chown),
        Chmod = Expand(copy.Chmod),
        Checksum = Expand(copy.Checksum),
        Sources = [.. copy.Sources.Select(Expand)],
        Destination = Expand(copy.Destination),
        Files = [.. copy.Files.Select(f => f.Expand ? f with { Data = Expand(f.Data, InlineFiles, _environment) } : f)],
    };

    private string Expand(string text, ShellOptions options, IShellEnvironment environment)
    {
        ShellReferences? references = null;
        try
        {
            return ShellLexer.Expand(text, environment, options, out references).Word;
        }
        finally
        {
            Report(references?.Unmatched ?? [], environment);
        }
    }

    private void Report(IReadOnlyList<string> unmatched, IShellEnvironment environment)
    {
        foreach (var name in unmatched)
        {
            if (StageEmitter.IsOnlyArgument(name) || stage.Arguments.Exists(a => string.Equals(a.Key, name, StringComparison.Ordinal)))
                continue;
            var match = Suggestion.Search(name, environment.Names, caseSensitive: true);
            scope.Linter.Report(
                LintRule.UndefinedVar,
                $"Usage of undefined variable '${name}'" + (match is null ? "" : $" (did you mean ${match}?)"),
                location);
        }
    }
}
