using System.Text;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Conversion;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Errors;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile;

/// <summary>
/// The frontend <c>dockerfile.v0</c>: turns a Dockerfile into a graph, or answers questions about it. One call:
/// (1) check options, (2) load the Dockerfile, (3) forward to another frontend if the file names one, (4) answer a
/// subrequest, or (5) convert and solve for every platform (spec 05 §1).
/// </summary>
public sealed class DockerfileFrontend(DockerfileFeatures? features = null)
{
    private const string SyntaxArgument = "build-arg:BUILDKIT_SYNTAX";
    private const string ConfigKey = "containerimage.config";
    private const string BaseConfigKey = "containerimage.base.config";
    private const string PlatformsKey = "refs.platforms";

    private readonly DockerfileFeatures _features = features ?? DockerfileFeatures.Mainline;

    /// <summary>Runs the frontend.</summary>
    /// <exception cref="FrontendSourceException">The Dockerfile is wrong; tells where.</exception>
    /// <exception cref="DockerfileException">An option is wrong, or the error has no position.</exception>
    /// <exception cref="UnsupportedFrontendCapException">The client needs something this frontend cannot do.</exception>
    /// <exception cref="UnsupportedSubrequestException">The client asks a question this frontend does not answer.</exception>
    public async Task<FrontendResult> BuildAsync(IFrontendClient client, CancellationToken cancellationToken)
    {
        var cache = new ResolveCache(client);
        try
        {
            return await RunAsync(cache, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            await cache.CancelAsync().ConfigureAwait(false);
        }
    }

    private async Task<FrontendResult> RunAsync(IFrontendClient client, CancellationToken cancellationToken)
    {
        var options = FrontendOptions.Parse(client.Options);
        var missing = FindMissingCap(options.Option("frontend.caps"), out var mayForward);
        if (missing is not null && !mayForward)
            throw missing;
        var inputs = new BuildInputs(client, options);
        var dockerfile = await inputs.LoadDockerfileAsync(cancellationToken).ConfigureAwait(false);
        if (!options.All.ContainsKey("cmdline"))
        {
            if (options.All.TryGetValue(SyntaxArgument, out var syntax))
                return await ForwardByArgumentAsync(client, syntax, cancellationToken).ConfigureAwait(false);
            if (DirectiveDetector.FindSyntax(dockerfile.Content) is { } directive)
                return await ForwardByDirectiveAsync(client, directive, dockerfile, cancellationToken).ConfigureAwait(false);
        }
        if (missing is not null)
            throw missing;
        if (options.All.TryGetValue("requestid", out var request))
            return await new Subrequests(inputs, dockerfile, _features).AnswerAsync(request, WarningSink(client, dockerfile), cancellationToken).ConfigureAwait(false);
        try
        {
            return await BuildAllAsync(inputs, dockerfile, cancellationToken).ConfigureAwait(false);
        }
        catch (DockerfileException e) when (e.Locations.Count > 0)
        {
            throw new FrontendSourceException(e.Message, [.. e.Locations.Select(l => new FrontendErrorSource(dockerfile.Info, l))], e);
        }
    }

    private static UnsupportedFrontendCapException? FindMissingCap(string caps, out bool mayForward)
    {
        UnsupportedFrontendCapException? missing = null;
        mayForward = true;
        foreach (var item in caps.Length == 0 ? [] : caps.Split(','))
        {
            var parts = item.Split('+');
            if (parts[0] is "moby.buildkit.frontend.inputs" or "moby.buildkit.frontend.subrequests" or "moby.buildkit.frontend.contexts")
                continue;
            missing = new UnsupportedFrontendCapException(parts[0]);
            mayForward = parts.Skip(1).Contains("forward", StringComparer.Ordinal);
            if (!mayForward)
                return missing;
        }
        return missing;
    }

    private static async Task<FrontendResult> ForwardByArgumentAsync(IFrontendClient client, string syntax, CancellationToken cancellationToken)
    {
        try
        {
            return await ForwardAsync(client, syntax.Trim().Split(' ', 2)[0], syntax, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException && !HasSource(e))
        {
            throw new DockerfileException($"failed with {SyntaxArgument} = {syntax}: {e.Message}", e);
        }
    }

    private static async Task<FrontendResult> ForwardByDirectiveAsync(IFrontendClient client, Directive directive, DockerfileSource dockerfile, CancellationToken cancellationToken)
    {
        try
        {
            return await ForwardAsync(client, directive.Reference, directive.Value, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException && !HasSource(e))
        {
            throw new FrontendSourceException(e.Message, [new FrontendErrorSource(dockerfile.Info, [SourceRange.OfLine(directive.Line)])], e);
        }
    }

    /// <summary>Whether an error already tells a place in a file; that of a frontend in an image comes over the wire.</summary>
    private static bool HasSource(Exception error)
    {
        for (Exception? e = error; e is not null; e = e.InnerException)
        {
            if (e is FrontendSourceException || (e is RpcException rpc && TypedErrors.Of<Protocol.ErrDefs.Source>(rpc.Details).Any()))
                return true;
        }
        return false;
    }

    private static async Task<FrontendResult> ForwardAsync(IFrontendClient client, string reference, string cmdline, CancellationToken cancellationToken)
    {
        var opts = new Dictionary<string, string>(client.Options.Opts, StringComparer.Ordinal) { ["cmdline"] = cmdline, ["source"] = reference };
        var inputs = client.Options.GatewayCaps.Supports(GatewayCaps.FrontendInputs)
            ? await client.GetInputsAsync(cancellationToken).ConfigureAwait(false)
            : null;
        return await client.SolveAsync(new FrontendSolveRequest { Frontend = "gateway.v0", FrontendOpts = opts, FrontendInputs = inputs }, cancellationToken).ConfigureAwait(false);
    }

    private static Action<LintWarning> WarningSink(IFrontendClient client, DockerfileSource dockerfile) => warning =>
    {
        var shown = new FrontendWarning(warning.Short, [warning.Rule.Description], warning.Rule.Url, 1, dockerfile.Info, warning.Location);
        _ = Observe(client.WarnAsync(dockerfile.Vertex, shown, CancellationToken.None));

        // A warning that cannot be shown must not fail the build.
        static Task Observe(Task task) => task.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    };

    private async Task<FrontendResult> BuildAllAsync(BuildInputs inputs, DockerfileSource dockerfile, CancellationToken cancellationToken)
    {
        var options = inputs.Options;
        var scanner = options.Sbom is { } sbom ? await SbomScanner.CreateAsync(inputs.Client, options.Option("image-resolve-mode"), sbom, cancellationToken).ConfigureAwait(false) : null;
        var converter = new DockerfileConverter(inputs, dockerfile, _features);
        Platform?[] targets = options.TargetPlatforms.Count == 0 ? [null] : [.. options.TargetPlatforms];
        var builds = targets.Select((target, index) => BuildOneAsync(inputs, converter, target, index == 0 ? WarningSink(inputs.Client, dockerfile) : null, cancellationToken)).ToList();
        await FirstFailure.WhenAllAsync(builds).ConfigureAwait(false);

        var result = new FrontendResult();
        var platforms = new List<(string Id, Platform Platform)>();
        foreach (var build in builds)
        {
            var built = await build.ConfigureAwait(false);
            var id = built.Platform.FormatAll();
            platforms.Add((id, built.Platform));
            var suffix = options.MultiPlatform ? "/" + id : "";
            if (options.MultiPlatform)
                result.References[id] = built.Reference;
            else
                result.Reference = built.Reference;
            result.Metadata[ConfigKey + suffix] = built.Config;
            if (built.BaseConfig is not null)
                result.Metadata[BaseConfigKey + suffix] = built.BaseConfig;
            if (scanner is not null)
                result.Attestations[id] = [await scanner.ScanAsync(built.ScanId, built.Scan, built.Definition, cancellationToken).ConfigureAwait(false)];
        }
        result.Metadata[PlatformsKey] = PlatformsJson(platforms);
        return result;
    }

    private static async Task<Built> BuildOneAsync(BuildInputs inputs, DockerfileConverter converter, Platform? target, Action<LintWarning>? warn, CancellationToken cancellationToken)
    {
        var conversion = await converter.ConvertAsync(target, warn, allStages: false, cancellationToken).ConfigureAwait(false);
        var definition = await MarshalAsync(conversion.Target.State, conversion.Marshal, cancellationToken).ConfigureAwait(false);
        var solved = await inputs.Client.SolveAsync(new FrontendSolveRequest { Definition = definition, CacheImports = inputs.Options.CacheImports }, cancellationToken).ConfigureAwait(false);
        var image = conversion.Target.Image;
        var platform = target ?? Platform.Host;
        var scanId = platform.Normalize().FormatAll();
        // Windows builds take their version from the base image.
        if (platform.Os is "windows" && image.Platform.Os is "windows")
        {
            platform = platform with
            {
                OsVersion = platform.OsVersion.Length > 0 ? platform.OsVersion : image.Platform.OsVersion,
                OsFeatures = platform.OsFeatures.Count > 0 ? platform.OsFeatures : image.Platform.OsFeatures,
            };
        }
        return new Built(platform.Normalize(), scanId, solved.Reference, image.ToJson(), conversion.Target.BaseImage?.ToJson(), conversion.Scan, definition);
    }

    private static async Task<Definition> MarshalAsync(State state, MarshalOptions options, CancellationToken cancellationToken)
    {
        try
        {
            return await state.MarshalAsync(options, cancellationToken).ConfigureAwait(false);
        }
        catch (LlbException e)
        {
            throw new DockerfileException($"failed to marshal LLB definition: {e.Message}", e);
        }
    }

    private static byte[] PlatformsJson(List<(string Id, Platform Platform)> platforms)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteName("Platforms");
        json.WriteStartArray();
        foreach (var (id, platform) in platforms)
        {
            json.WriteStartObject();
            json.WriteName("ID");
            json.WriteString(id);
            json.WriteName("Platform");
            platform.WriteTo(json);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
        return json.ToArray();
    }

    private sealed record Built(Platform Platform, string ScanId, IFrontendReference? Reference, byte[] Config, byte[]? BaseConfig, ScanTargets Scan, Definition Definition);
}
