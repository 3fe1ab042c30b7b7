using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Conversion;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Shell;
using BuildKit.Llb;

namespace BuildKit.Dockerfile.Stages;

/// <summary>An instruction of a stage with the stages it takes from.</summary>
/// <param name="Instruction">The instruction.</param>
/// <param name="Sources">One for COPY --from; one per mount for RUN.</param>
/// <param name="IsTrigger">Whether it comes from an ONBUILD.</param>
internal sealed record StageCommand(Instruction Instruction, IReadOnlyList<Stage> Sources, bool IsTrigger);

/// <summary>A stage being built. Implicit stages stand for images that are only taken from.</summary>
internal sealed class Stage
{
    /// <summary>Name in FROM, lower-case; empty for unnamed and implicit stages.</summary>
    public string Name { get; init; } = "";

    /// <summary>The FROM line; empty for implicit stages.</summary>
    public string Source { get; init; } = "";

    /// <summary>Description from the comment above.</summary>
    public string Description { get; init; } = "";

    /// <summary>Lines of the FROM instruction.</summary>
    public IReadOnlyList<SourceRange> Location { get; init; } = [];

    /// <summary>Whether it is only taken from.</summary>
    public bool IsImplicit { get; init; }

    /// <summary>Instructions as written.</summary>
    public IReadOnlyList<Instruction> Instructions { get; init; } = [];

    /// <summary>Base image name, expanded; later completed and pinned.</summary>
    public required string BaseName { get; set; }

    /// <summary>Name shown in progress.</summary>
    public string DisplayName { get; set; } = "";

    /// <summary>The stage it builds on.</summary>
    public Stage? Base { get; set; }

    /// <summary>The context that replaces it.</summary>
    public NamedContext? Replacement { get; set; }

    /// <summary>Its platform, once known.</summary>
    public Platform? Platform { get; set; }

    /// <summary>Instructions with their sources.</summary>
    public List<StageCommand> Commands { get; set; } = [];

    /// <summary>Stages it takes from, with the last instruction that does.</summary>
    public Dictionary<Stage, Instruction> Dependencies { get; } = [];

    /// <summary>File system and settings.</summary>
    public State State { get; set; } = State.Scratch;

    /// <summary>Image configuration.</summary>
    public StageImage Image { get; set; } = new();

    /// <summary>Configuration of the image at the bottom, as it was resolved.</summary>
    public StageImage? BaseImage { get; set; }

    public bool IsEmitted { get; set; }

    public bool IsResolved { get; set; }

    public bool HasTriggersOfBase { get; set; }

    public bool IgnoreCache { get; set; }

    public bool HasWorkdir { get; set; }

    public bool ScanContext { get; set; }

    public bool ScanStage { get; set; }

    /// <summary>Paths used of the build context.</summary>
    public HashSet<string> ContextPaths { get; } = new(StringComparer.Ordinal);

    /// <summary>Paths used of this stage's base; shared with the base.</summary>
    public HashSet<string> Paths { get; set; } = new(StringComparer.Ordinal);

    /// <summary>Declared arguments, those of bases first.</summary>
    public List<ArgDefinition> Arguments { get; } = [];

    public OutlineCapture Outline { get; set; } = new();

    /// <summary>Number of steps shown.</summary>
    public int CommandTotal { get; set; }

    /// <summary>Number of the step shown last.</summary>
    public int CommandIndex { get; set; }

    public bool InTrigger { get; set; }

    /// <summary>Where CMD, ENTRYPOINT and HEALTHCHECK stood last, by upper-case name.</summary>
    public Dictionary<string, IReadOnlyList<SourceRange>> Once { get; } = new(StringComparer.Ordinal);

    /// <summary>The settings of the state, which are always known here.</summary>
    public StateValues Values => State.TryGetValues(out var values)
        ? values
        : throw new InvalidOperationException($"the settings of stage {DisplayName} are not known");

    /// <summary>Variables of the state.</summary>
    public IShellEnvironment Environment => new StateEnvironment(Values);

    /// <summary>Takes over everything from the base stage.</summary>
    public void InheritFromBase()
    {
        if (Base is null)
            return;
        State = Base.State;
        Platform = Base.Platform;
        Image = Base.Image.Derive();
        Image.OnBuild = [];
        BaseImage = Base.BaseImage?.Derive();
        Paths = Base.Paths;
        HasWorkdir = Base.HasWorkdir;
        Arguments.AddRange(Base.Arguments);
    }

    /// <summary>This stage and all it needs.</summary>
    public HashSet<Stage> Reachable()
    {
        var reachable = new HashSet<Stage>();
        var pending = new Stack<Stage>();
        pending.Push(this);
        while (pending.TryPop(out var stage))
        {
            if (!reachable.Add(stage))
                continue;
            if (stage.Base is not null)
                pending.Push(stage.Base);
            foreach (var dependency in stage.Dependencies.Keys)
                pending.Push(dependency);
        }
        return reachable;
    }

    /// <summary>Paths to follow for a set of used paths: sorted, without leading slash; null when all is used.</summary>
    public static IReadOnlyList<string>? FollowPaths(IReadOnlyCollection<string> used)
    {
        if (used.Count == 0 || used.Contains("/"))
            return null;
        var paths = used.Select(static p => SlashPath.Join(".", p)).ToArray();
        Array.Sort(paths, Oci.ByteOrder.Instance);
        return paths;
    }

    private sealed class StateEnvironment(StateValues values) : IShellEnvironment
    {
        public IEnumerable<string> Names => values.Environment.Select(static e => e.Key);

        public bool TryGet(string name, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out string? value)
        {
            value = values.GetEnv(name);
            return value is not null;
        }
    }
}
