using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Stages;

/// <summary>Builds the list of stages from the instructions (spec 05 §5.1).</summary>
internal sealed class StagePlanner(BuildInputs? inputs, PlatformPlan platforms, bool isTargetExplicit, EnvironmentList globals, Dictionary<string, OutlineArgument> declared, ShellOptions options, Linter linter)
{
    private readonly StageList _list = new();

    /// <summary>Plans all stages and links them.</summary>
    /// <exception cref="DockerfileException">A base name, platform or link is wrong.</exception>
    public StageList Plan(IReadOnlyList<StageDefinition> definitions)
    {
        foreach (var (index, definition) in definitions.Index())
            Add(definition, index);
        return _list;
    }

    /// <summary>Links every instruction to the stages it takes from.</summary>
    public void LinkAll()
    {
        // Implicit stages join the list while it is walked.
        for (var i = 0; i < _list.Stages.Count; i++)
        {
            var stage = _list.Stages[i];
            foreach (var instruction in stage.Instructions)
            {
                var command = _list.Link(instruction, isTrigger: false);
                stage.Commands.Add(command);
                _list.Register(stage, command);
            }
        }
        _list.CheckCycles();
        if (_list.Stages is [var only])
            only.DisplayName = "";
    }

    private void Add(StageDefinition definition, int index)
    {
        var from = definition.From;
        var used = new HashSet<string>(StringComparer.Ordinal);
        var expansion = Expand(from.BaseName, from, used);
        if (expansion.Word.Length == 0)
            throw new DockerfileException($"base name ({from.BaseName}) should not be blank").At(from.Location);
        var stage = new Stage
        {
            Name = from.StageName,
            Source = from.Source,
            Description = from.Description,
            Location = from.Location,
            Instructions = definition.Instructions,
            BaseName = expansion.Word,
            DisplayName = from.StageName,
            Outline = NewOutline(),
        };
        if (from.Platform.Length > 0)
            stage.Platform = ReadPlatform(from, used);
        if (from.StageName.Length > 0 && FindReplacement(stage) is { } replacement)
        {
            stage.Replacement = replacement;
            _list.Add(stage);
            stage.Base = null;
            return;
        }
        if (from.StageName.Length == 0)
            stage.DisplayName = $"stage-{index}";
        _list.Add(stage);
        stage.Outline.Used.UnionWith(used);
        stage.CommandTotal = (stage.BaseName is not "scratch" && stage.Base is null ? 1 : 0)
            + definition.Instructions.Count(static i => i is CopyInstruction or RunInstruction or WorkdirInstruction);
        stage.IgnoreCache = inputs?.Options.IgnoresCacheOf(from.StageName) ?? false;
    }

    private OutlineCapture NewOutline()
    {
        var outline = new OutlineCapture();
        foreach (var (name, argument) in declared)
            outline.Arguments[name] = argument;
        return outline;
    }

    private NamedContext? FindReplacement(Stage stage) => inputs is null
        ? null
        : NamedContext.Find(inputs, stage.Name, stage.Platform ?? (isTargetExplicit ? platforms.Target : null), () => Stage.FollowPaths(stage.Paths));

    private ShellExpansion Expand(string text, FromInstruction from, HashSet<string> used)
    {
        ShellExpansion expansion;
        ShellReferences? references = null;
        try
        {
            expansion = ShellLexer.Expand(text, globals, options, out references);
        }
        catch (DockerfileException e)
        {
            ReportUndeclared(references?.Unmatched ?? [], from);
            throw e.At(from.Location);
        }
        ReportUndeclared(expansion.Unmatched, from);
        used.UnionWith(expansion.Matched);
        return expansion;
    }

    private Platform ReadPlatform(FromInstruction from, HashSet<string> used)
    {
        ShellExpansion expansion;
        ShellReferences? references = null;
        try
        {
            expansion = ShellLexer.Expand(from.Platform, globals, options, out references);
        }
        catch (DockerfileException e)
        {
            ReportUndeclared(references?.Unmatched ?? [], from);
            throw new DockerfileException($"failed to process arguments for platform : {e.Message}", e).At(from.Location);
        }
        ReportUndeclared(expansion.Unmatched, from);
        FromRules.CheckPlatform(from, expansion, globals, linter);
        if (expansion.Word.Length == 0)
            throw Suggest($"empty platform value from expression {from.Platform}", expansion.Unmatched).At(from.Location);
        try
        {
            var platform = Platform.Parse(expansion.Word);
            used.UnionWith(expansion.Matched);
            return platform;
        }
        catch (FormatException e)
        {
            // The place is told twice, once for the value and once for the flag.
            throw Suggest($"failed to parse platform {from.Platform}: {e.Message}", expansion.Unmatched).At(from.Location).At(from.Location);
        }
    }

    private DockerfileException Suggest(string message, IReadOnlyList<string> names)
    {
        foreach (var name in names)
        {
            if (Suggestion.Search(name, globals.Names, caseSensitive: true) is { } match)
                return new DockerfileException($"{message} (did you mean {match}?)");
        }
        return new DockerfileException(message);
    }

    private void ReportUndeclared(IReadOnlyList<string> unmatched, FromInstruction from)
    {
        var known = declared.Keys.Concat(globals.Names).Distinct(StringComparer.Ordinal).ToList();
        foreach (var name in unmatched)
        {
            if (!known.Contains(name, StringComparer.Ordinal))
                linter.Report(LintRule.UndefinedArgInFrom, Suggestion.Append($"FROM argument '{name}' is not declared", name, known, caseSensitive: true), from.Location);
        }
    }
}
