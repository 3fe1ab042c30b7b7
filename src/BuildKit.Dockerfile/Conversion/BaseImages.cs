using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>Gives every stage without a base stage its image (spec 05 §5.2).</summary>
internal sealed class BaseImages(ConversionScope scope)
{
    private static readonly string[] CommonImages = CommonNames();

    /// <summary>Resolves the stages that need it, all at the same time.</summary>
    /// <param name="reachable">Stages that are needed; others are only checked.</param>
    /// <param name="cancellationToken">Cancels.</param>
    public async Task ResolveAsync(IReadOnlySet<Stage> reachable, CancellationToken cancellationToken)
    {
        var names = scope.Stages.Stages.Select(static s => s.DisplayName).Where(static n => n.Length > 0).ToList();
        using var failure = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var resolving = new List<Task>();
        foreach (var stage in scope.Stages.Stages)
        {
            if (stage.Base is not null || stage.IsEmitted || stage.IsResolved)
                continue;
            stage.IsResolved = reachable.Contains(stage);
            if (stage.BaseName is "scratch" && stage.Replacement is null)
            {
                stage.State = State.Scratch;
                stage.Image = StageImage.Empty(scope.Platforms.Target);
                stage.Platform = scope.Platforms.Target;
                stage.IsEmitted = stage.IsImplicit;
                continue;
            }
            resolving.Add(ResolveAsync(stage, reachable.Contains(stage), names, failure));
        }
        await FirstFailure.WhenAllAsync(resolving).ConfigureAwait(false);
    }

    private async Task ResolveAsync(Stage stage, bool isReachable, List<string> stageNames, CancellationTokenSource failure)
    {
        try
        {
            var given = stage.BaseName;
            ImageReference reference;
            try
            {
                reference = ImageReference.Parse(given);
            }
            catch (FormatException e)
            {
                throw new DockerfileException($"failed to parse stage name {GoQuote.Quote(given)}: {e.Message}", e);
            }
            var platform = stage.Platform ?? scope.Platforms.Target;
            stage.BaseName = reference.WithDefaultTag().ToString();
            if (!isReachable)
                stage.Platform = platform;
            else if (stage.Replacement is { } replacement)
                TakeReplacement(stage, await replacement.LoadAsync(failure.Token).ConfigureAwait(false));
            else if (NamedContext.Find(scope.Inputs, stage.BaseName, platform, () => Stage.FollowPaths(stage.Paths)) is { } context)
                TakeContext(stage, platform, await context.LoadAsync(failure.Token).ConfigureAwait(false));
            else
                await TakeImageAsync(stage, given, platform, stageNames, failure.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            await failure.CancelAsync().ConfigureAwait(false);
            throw (e as DockerfileException ?? new DockerfileException(e.Message, e)).At(stage.Location);
        }
        finally
        {
            stage.IsEmitted |= stage.IsImplicit;
        }
    }

    private static void TakeReplacement(Stage stage, LoadedContext loaded)
    {
        stage.IsEmitted = true;
        stage.State = loaded.State;
        if (loaded.Image is not { } image)
            return;
        stage.Image = image;
        if (image.Platform is { Os.Length: > 0, Architecture.Length: > 0 })
            stage.Platform = image.Platform;
    }

    private void TakeContext(Stage stage, Platform platform, LoadedContext loaded)
    {
        stage.Image = loaded.Image ?? StageImage.Empty(scope.Platforms.Target);
        stage.State = loaded.State.WithPlatform(platform);
        stage.Platform = platform;
    }

    private async Task TakeImageAsync(Stage stage, string given, Platform platform, List<string> stageNames, CancellationToken cancellationToken)
    {
        var keyed = scope.Options.MultiPlatform;
        var query = new ImageConfigQuery(
            $"[{(keyed ? platform.FormatAll() + " " : "")}internal] load metadata for {stage.BaseName}",
            platform,
            scope.Options.ResolveModeName);
        FrontendImageConfig resolved;
        try
        {
            resolved = await scope.Inputs.Client.ResolveImageConfigAsync(stage.BaseName, query, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            throw new DockerfileException(Suggestion.Append($"{given}: {e.Message}", given, stageNames.Concat(CommonImages), caseSensitive: true), e);
        }
        var image = StageImage.Parse(resolved.Config);
        stage.BaseImage = image.Derive();
        image.Created = null;
        if (stage.Platform is null && scope.Platforms.IsImplicit)
            platform = MatchBuildPlatform(image.Platform, platform);
        stage.BaseName = Pin(resolved);
        stage.Image = image;
        stage.Platform = platform;
        if (image.DiffIds.Count == 0 && image.History.Entries.All(static h => h.EmptyLayer))
        {
            stage.State = State.Scratch;
            return;
        }
        var constraints = scope.At(stage.Location)
            .WithDescription(DisplayNames.CommandKey, stage.Source)
            .WithCustomName(DisplayNames.Prefix(stage, "FROM " + stage.BaseName, keyed, platform, EmptyEnvironment.Instance));
        stage.State = State.Image(stage.BaseName, new ImageOptions
        {
            ResolveMode = scope.Options.ResolveMode,
            Constraints = constraints with { Platform = platform },
        });
        CheckPlatform(stage, given, platform, image.Platform);
    }

    private static string Pin(FrontendImageConfig resolved)
    {
        try
        {
            var reference = ImageReference.Parse(resolved.Reference);
            return (resolved.Digest.IsEmpty ? reference : reference.WithDigest(resolved.Digest)).ToString();
        }
        catch (FormatException e)
        {
            throw new DockerfileException($"failed to parse ref {GoQuote.Quote(resolved.Reference)}: {e.Message}", e);
        }
    }

    private Platform MatchBuildPlatform(Platform image, Platform target)
    {
        var build = scope.Platforms.Build;
        if (SameMachine(image, target))
            return target;
        return SameMachine(image, build) ? build : target;
    }

    private void CheckPlatform(Stage stage, string given, Platform expected, Platform actual)
    {
        if (SameMachine(expected, actual))
            return;
        var (wanted, found) = (expected.Normalize().FormatAll(), actual.Normalize().FormatAll());
        lock (scope.Linter)
            scope.Linter.Report(LintRule.InvalidBaseImagePlatform, $"Base image {given} was pulled with platform \"{found}\", expected \"{wanted}\" for current build", stage.Location);
    }

    private static bool SameMachine(Platform a, Platform b) =>
        string.Equals(a.Os, b.Os, StringComparison.Ordinal) && string.Equals(a.Architecture, b.Architecture, StringComparison.Ordinal);

    private static string[] CommonNames()
    {
        string[] repositories = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];
        return [.. repositories.SelectMany(static r => new[] { r, r + ":latest" })];
    }
}

/// <summary>Waits for tasks that fail together.</summary>
internal static class FirstFailure
{
    /// <summary>Waits for all; throws the first failure that is no cancellation.</summary>
    public static async Task WhenAllAsync(IReadOnlyList<Task> tasks)
    {
        var all = Task.WhenAll(tasks);
        try
        {
            await all.ConfigureAwait(false);
        }
        catch (Exception) when (all.IsFaulted)
        {
            var failures = all.Exception!.InnerExceptions;
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failures.FirstOrDefault(static f => f is not OperationCanceledException) ?? failures[0]);
        }
    }
}
