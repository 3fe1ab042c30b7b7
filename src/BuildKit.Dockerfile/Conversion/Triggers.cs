using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Stages;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>ONBUILD instructions of images and base stages (spec 05 §5.3).</summary>
internal sealed class Triggers(ConversionScope scope)
{
    /// <summary>Puts the triggers of all reachable stages in front of their instructions.</summary>
    /// <returns>Whether a trigger takes from a stage, so that images must be resolved again.</returns>
    public bool Prepend(IEnumerable<Stage> reachable)
    {
        var hasNewSources = false;
        foreach (var stage in reachable)
        {
            stage.InheritFromBase();
            var triggers = stage.Image.OnBuild.ToList();
            if (stage.Base is not null && !stage.HasTriggersOfBase)
            {
                triggers.AddRange(stage.Base.Commands.Select(static c => c.Instruction).OfType<OnBuildInstruction>().Select(static o => o.Expression));
                stage.HasTriggersOfBase = true;
            }
            if (triggers.Count == 0)
                continue;
            hasNewSources |= Prepend(stage, triggers);
            stage.Image.OnBuild = [];
        }
        return hasNewSources;
    }

    private bool Prepend(Stage stage, List<string> triggers)
    {
        var commands = new List<StageCommand>();
        foreach (var trigger in triggers)
        {
            var command = Parse(stage, trigger);
            commands.Add(command);
            scope.Stages.Register(stage, command);
        }
        stage.Commands.InsertRange(0, commands);
        stage.CommandTotal += commands.Count;
        return commands.Exists(static c => c.Sources.Count > 0);
    }

    private StageCommand Parse(Stage stage, string trigger)
    {
        try
        {
            var parsed = DockerfileParser.Parse(trigger);
            if (parsed.Nodes is not [var node])
                throw new DockerfileException("onbuild trigger should be a single expression");
            var (start, end) = stage.Location.Count == 0 ? (0, 0) : (stage.Location.Min(static r => r.StartLine), stage.Location.Max(static r => r.EndLine));
            var instruction = new InstructionParser(scope.Features, Linter.Silent).Parse(node with { StartLine = start, EndLine = end });
            return instruction is FromInstruction
                ? throw new DockerfileException("FROM is not a command type")
                : scope.Stages.Link(instruction, isTrigger: true);
        }
        catch (DockerfileException e)
        {
            throw e.OnlyAt(stage.Location);
        }
    }
}
