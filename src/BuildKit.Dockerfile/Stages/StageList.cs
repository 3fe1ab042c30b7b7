using System.Globalization;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Stages;

/// <summary>All stages in order, with the names they are found by (spec 05 §5.1).</summary>
internal sealed class StageList
{
    private readonly Dictionary<string, Stage> _byName = new(StringComparer.Ordinal);

    public List<Stage> Stages { get; } = [];

    /// <summary>Adds a stage and links it to the stage its base name is, byte for byte.</summary>
    public void Add(Stage stage)
    {
        Stages.Add(stage);
        if (_byName.TryGetValue(stage.BaseName, out var @base))
        {
            stage.Base = @base;
            stage.Outline = @base.Outline.Clone();
        }
        if (stage.Name.Length > 0)
            _byName[stage.Name.ToLowerInvariant()] = stage;
    }

    /// <summary>The newest stage of a name, in any case; null when there is none.</summary>
    public Stage? Find(string name) => _byName.GetValueOrDefault(name.ToLowerInvariant());

    /// <summary>Links an instruction to the stages it takes from; images become implicit stages.</summary>
    public StageCommand Link(Instruction instruction, bool isTrigger)
    {
        IReadOnlyList<Stage> sources = instruction switch
        {
            CopyInstruction { From.Length: > 0 } copy => [SourceOf(copy)],
            RunInstruction run => [.. run.Mounts.Select(m => SourceOf(m.From.Length == 0 ? "scratch" : m.From, []))],
            _ => [],
        };
        return new StageCommand(instruction, sources, isTrigger);
    }

    /// <summary>Notes the dependencies of a stage and registers implicit stages.</summary>
    public void Register(Stage stage, StageCommand command)
    {
        foreach (var source in command.Sources)
        {
            stage.Dependencies[source] = command.Instruction;
            if (source.IsImplicit)
                Add(source);
        }
    }

    /// <summary>Fails when stages need each other in a circle.</summary>
    /// <exception cref="DockerfileException">They do; positioned at the instructions of the circle.</exception>
    public void CheckCycles()
    {
        var visited = new HashSet<Stage>();
        foreach (var stage in Stages)
        {
            if (FindCycle(stage, visited) is not { } cycle)
                continue;
            var error = new DockerfileException($"circular dependency detected on stage: {stage.DisplayName}");
            foreach (var instruction in cycle)
                error.At(instruction.Location);
            throw error;
        }
    }

    private static List<Instruction>? FindCycle(Stage start, HashSet<Stage> visited)
    {
        // Depth first, without recursion: a Dockerfile may have very many stages.
        if (!visited.Add(start))
            return null;
        var onPath = new HashSet<Stage> { start };
        var instructions = new List<Instruction>();
        var path = new Stack<(Stage Stage, Dictionary<Stage, Instruction>.Enumerator Next)>();
        path.Push((start, start.Dependencies.GetEnumerator()));
        while (path.TryPop(out var top))
        {
            if (!top.Next.MoveNext())
            {
                onPath.Remove(top.Stage);
                if (instructions.Count > 0)
                    instructions.RemoveAt(instructions.Count - 1);
                continue;
            }
            var (dependency, instruction) = top.Next.Current;
            path.Push(top);
            if (onPath.Contains(dependency))
                return [.. instructions, instruction];
            if (!visited.Add(dependency))
                continue;
            instructions.Add(instruction);
            onPath.Add(dependency);
            path.Push((dependency, dependency.Dependencies.GetEnumerator()));
        }
        return null;
    }

    private Stage SourceOf(CopyInstruction copy)
    {
        if (GoNumber.ParseIndex(copy.From) is not { } index)
            return SourceOf(copy.From, copy.Location);
        return index >= 0 && index < Stages.Count
            ? Stages[(int)index]
            : throw new DockerfileException(string.Create(CultureInfo.InvariantCulture, $"invalid stage index {index}"));
    }

    private Stage SourceOf(string name, IReadOnlyList<SourceRange> location) =>
        Find(name) ?? new Stage { BaseName = name, Location = location, IsImplicit = true };
}
