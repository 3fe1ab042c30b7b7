using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>What is scanned for a bill of materials.</summary>
/// <param name="Core">The result.</param>
/// <param name="Extras">Other file systems by name.</param>
/// <param name="IgnoreCache">Whether the scan is not answered from cache.</param>
internal sealed record ScanTargets(State Core, SortedDictionary<string, State> Extras, bool IgnoreCache);

/// <summary>A converted Dockerfile.</summary>
/// <param name="Target">The stage asked for.</param>
/// <param name="Marshal">What its definition is made for.</param>
/// <param name="Scan">What a scanner looks at.</param>
internal sealed record Conversion(Stage Target, MarshalOptions Marshal, ScanTargets Scan);

/// <summary>Turns a Dockerfile into a graph for one platform, in the order of spec 05 §5 and §6.</summary>
internal sealed class DockerfileConverter(BuildInputs inputs, DockerfileSource dockerfile, DockerfileFeatures features)
{
    /// <summary>Converts.</summary>
    /// <param name="platform">Platform asked for; null for the build platform.</param>
    /// <param name="warn">Receives lint warnings; null switches checking off.</param>
    /// <param name="allStages">Emit every stage, whether the target needs it or not.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="DockerfileException">The Dockerfile is wrong.</exception>
    public async Task<Conversion> ConvertAsync(Platform? platform, Action<LintWarning>? warn, bool allStages, CancellationToken cancellationToken)
    {
        if (dockerfile.Content.Length == 0)
            throw new DockerfileException("the Dockerfile cannot be empty");
        var linter = new Linter(CheckOptions(), warn);
        var parsed = DockerfileParser.Parse(dockerfile.Content);
        foreach (var warning in parsed.Warnings)
            linter.Report(LintRule.NoEmptyContinuation, "Empty continuation line", [warning.Location]);
        var program = new InstructionParser(features, linter).ParseProgram(parsed);
        FromRules.CheckNames(program.Stages, linter);
        FromRules.CheckCasing(program.Stages, linter);

        BuildContextBox context = new();
        var scope = Plan(platform, parsed.EscapeToken, program, linter, context, out var target);
        var reachable = await ResolveAsync(scope, target, allStages, cancellationToken).ConfigureAwait(false);

        if (await inputs.LoadIgnorePatternsAsync(cancellationToken).ConfigureAwait(false) is { Count: > 0 } patterns)
            scope.Ignored = new IgnoreMatcher(patterns);
        var used = new HashSet<string>(StringComparer.Ordinal);
        var emitter = new StageEmitter(scope);
        foreach (var stage in scope.Stages.Stages)
        {
            if (allStages || (reachable.Contains(stage) && !stage.IsEmitted))
            {
                emitter.Emit(stage);
                used.UnionWith(stage.ContextPaths);
            }
        }

        target.Paths.Add("/"); // the result is used as a whole
        foreach (var (name, value) in inputs.Options.Labels)
            (target.Image.Labels ??= new(StringComparer.Ordinal))[name] = value;
        linter.ThrowIfViolated();
        context.State = await inputs.LoadContextAsync(Stage.FollowPaths(used), cancellationToken).ConfigureAwait(false);
        if (!scope.Platforms.IsImplicit)
            target.Image.Platform = Retarget(target.Image.Platform, scope.Platforms.Target);
        var marshal = new MarshalOptions { Platform = scope.Platforms.Target, Capabilities = scope.LlbCaps };
        return new Conversion(target, marshal, Scan(target, scope));
    }

    private LintOptions CheckOptions()
    {
        if (inputs.Options.Lint is { } given)
            return given;
        try
        {
            return LintOptions.Parse(DirectiveDetector.FindCheck(dockerfile.Content)?.Reference ?? "");
        }
        catch (DockerfileException e)
        {
            throw new DockerfileException($"failed to parse check options: {e.Message}", e);
        }
    }

    private ConversionScope Plan(Platform? platform, char escape, DockerfileProgram program, Linter linter, BuildContextBox context, out Stage target)
    {
        var options = inputs.Options;
        var platforms = new PlatformPlan(platform ?? options.BuildPlatform, options.BuildPlatform, platform is null);
        var shell = new ShellOptions(escape);
        var targetName = options.Target.Length > 0 ? options.Target : program.Stages[^1].From.StageName;
        var automatic = GlobalArguments.Automatic(platforms, options.BuildArgs, targetName);
        FromRules.CheckDefaults(program, automatic, shell, linter);
        var declared = new Dictionary<string, OutlineArgument>(StringComparer.Ordinal);
        var globals = GlobalArguments.Evaluate(automatic, program.GlobalArguments, options.BuildArgs, shell, declared);
        var planner = new StagePlanner(inputs, platforms, platform is not null, globals, declared, shell, linter);
        var stages = planner.Plan(program.Stages);
        target = options.Target.Length == 0
            ? stages.Stages[^1]
            : stages.Find(options.Target) ?? throw new DockerfileException($"target stage {GoQuote.Quote(options.Target)} could not be found");
        planner.LinkAll();
        return new ConversionScope
        {
            Inputs = inputs,
            Dockerfile = dockerfile,
            Features = features,
            Platforms = platforms,
            IsTargetExplicit = platform is not null,
            Globals = globals,
            Shell = shell,
            Linter = linter,
            Stages = stages,
            BuildContext = State.Scratch.WithOutput(State.Scratch.Defer((_, _, _) => ValueTask.FromResult(context.State))),
        };
    }

    private static async Task<HashSet<Stage>> ResolveAsync(ConversionScope scope, Stage target, bool allStages, CancellationToken cancellationToken)
    {
        var images = new BaseImages(scope);
        var triggers = new Triggers(scope);
        while (true)
        {
            var reachable = target.Reachable();
            await images.ResolveAsync(allStages ? scope.Stages.Stages.ToHashSet() : reachable, cancellationToken).ConfigureAwait(false);
            // In list order, so that triggers see the stages they build on as they will be.
            if (!triggers.Prepend(scope.Stages.Stages.Where(reachable.Contains).ToList()))
                return reachable;
        }
    }

    private static Platform Retarget(Platform image, Platform target)
    {
        var same = string.Equals(image.Os, target.Os, StringComparison.Ordinal) && string.Equals(image.Architecture, target.Architecture, StringComparison.Ordinal);
        return image with
        {
            Os = target.Os,
            Architecture = target.Architecture,
            Variant = target.Variant.Length > 0 || !same ? target.Variant : image.Variant,
            OsVersion = target.OsVersion.Length > 0 || !same ? target.OsVersion : image.OsVersion,
            OsFeatures = target.OsFeatures.Count > 0 ? target.OsFeatures : image.OsFeatures,
        };
    }

    private static ScanTargets Scan(Stage target, ConversionScope scope)
    {
        var extras = new SortedDictionary<string, State>(Oci.ByteOrder.Instance);
        var ignoreCache = target.IgnoreCache;
        if (target.ScanContext)
            extras["context"] = scope.BuildContext;
        foreach (var stage in target.Reachable().Where(s => s != target && s.ScanStage))
        {
            extras[stage.DisplayName] = stage.State;
            ignoreCache |= stage.IgnoreCache;
        }
        return new ScanTargets(target.State, extras, ignoreCache);
    }

    /// <summary>Holds the build context, which is known last.</summary>
    private sealed class BuildContextBox
    {
        public State State { get; set; } = State.Scratch;
    }
}
