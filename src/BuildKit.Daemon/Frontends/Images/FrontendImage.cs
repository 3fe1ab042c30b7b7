using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.SourcePolicy;

namespace BuildKit.Daemon.Frontends.Images;

/// <summary>A frontend's image: its tree and how to run it.</summary>
/// <param name="Tree">The tree; belongs to the build.</param>
/// <param name="Config">How its containers run.</param>
/// <param name="Digest">Digest of the manifest; empty when it is not known.</param>
internal sealed record FrontendImage(LazyResult Tree, ContainerConfig Config, Digest Digest)
{
    private const string ConfigKey = "containerimage.config";

    /// <summary>The image of a registry, or what a named context puts in its place.</summary>
    public static async Task<FrontendImage> LoadAsync(
        Build build, CaptureScope scope, IFrontendClient client, string source, IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, CancellationToken cancellationToken)
    {
        var (state, config, digest) = await FrontendReplacement.FindAsync(client, source, cancellationToken) is { } replacement
            ? (replacement.State, replacement.Config, default(Digest))
            : await ResolveAsync(client, source, cancellationToken);
        var definition = await state.MarshalAsync(new MarshalOptions(), cancellationToken);
        var solved = await build.SolveAsync(scope, definition, imports, policies, evaluate: false, cancellationToken);
        var tree = solved.Ref ?? throw new InvalidOperationException("gateway source didn't return default result");
        return new FrontendImage(tree, config is null ? new ContainerConfig() : ImageConfig.Parse(config).Config, digest);
    }

    /// <summary>The image a frontend makes: with <c>gateway-devel</c>, <c>source</c> names a frontend that builds the one to run.</summary>
    public static async Task<FrontendImage> BuildAsync(
        Build build, CaptureScope scope, string source, IReadOnlyDictionary<string, string> options, IReadOnlyDictionary<string, Definition> inputs,
        IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, CancellationToken cancellationToken)
    {
        const string prefix = "gateway-";
        var own = options.Where(option => option.Key.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(option => option.Key[prefix.Length..], option => option.Value, StringComparer.Ordinal);
        var built = await build.RunFrontendAsync(scope, source, own, inputs, imports, policies, cancellationToken);
        var tree = built.Ref ?? throw new InvalidOperationException("development gateway didn't return default result");
        var config = built.Metadata.TryGetValue(ConfigKey, out var json) ? ImageConfig.Parse(json).Config : new ContainerConfig();
        return new FrontendImage(tree, config, default);
    }

    private static async Task<(State State, byte[]? Config, Digest Digest)> ResolveAsync(IFrontendClient client, string source, CancellationToken cancellationToken)
    {
        var name = ImageReference.ParseWithDefaultTag(source).ToString();
        var resolved = await client.ResolveImageConfigAsync(name, new ImageConfigQuery("", Platform: null, ""), cancellationToken);
        var pinned = ImageReference.Parse(resolved.Reference);
        if (!resolved.Digest.IsEmpty)
            pinned = pinned.WithDigest(resolved.Digest);
        return (State.Image(pinned.ToString(), new ImageOptions { RecordType = "frontend" }), resolved.Config, resolved.Digest);
    }
}
