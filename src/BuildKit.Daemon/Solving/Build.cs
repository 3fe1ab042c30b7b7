using System.Collections.Concurrent;
using System.Text;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Solver;
using BuildKit.Worker;
using BuildKit.Worker.Sources.OciLayout;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Daemon.Solving;

/// <summary>One request to solve: its job, what it may do, the caches it looks in, the results it has made.</summary>
public sealed class Build : IAsyncDisposable
{
    /// <summary>Begins the identifiers of registry images.</summary>
    public const string ImageScheme = "docker-image://";

    private readonly BuildServices _services;
    private readonly IReadOnlyList<Policy> _policies;
    private readonly ConcurrentDictionary<string, ICacheManager> _imports = new(StringComparer.Ordinal);
    private readonly ConcurrentBag<LazyResult> _results = [];

    internal Build(BuildServices services, Job job, BuildPermissions permissions, IReadOnlyList<Policy> policies)
    {
        _services = services;
        Job = job;
        Permissions = permissions;
        _policies = policies;
    }

    /// <summary>The solver's side of this build.</summary>
    public Job Job { get; }

    /// <summary>What the request was granted.</summary>
    public BuildPermissions Permissions { get; }

    /// <summary>Definitions handed to the frontend by name.</summary>
    public IReadOnlyDictionary<string, Definition> FrontendInputs { get; init; } = new Dictionary<string, Definition>(StringComparer.Ordinal);

    /// <summary>Source policies in force for a call that brings further ones.</summary>
    public ISourcePolicy? PolicyWith(IReadOnlyList<Policy> further)
    {
        IReadOnlyList<Policy> all = [.. _policies, .. further];
        return all.Count > 0 ? new SourcePolicyEngine(all) : null;
    }

    /// <summary>Solves a definition, lazily unless <paramref name="evaluate"/>.</summary>
    public async Task<BuildResult> SolveAsync(
        Definition definition, IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, bool evaluate, CancellationToken cancellationToken)
    {
        var result = new BuildResult { Ref = await LoadAsync(definition, imports, policies, cancellationToken) };
        if (evaluate && result.Ref is not null)
            await result.Ref.EvaluateAsync(cancellationToken);
        return result;
    }

    /// <summary>Runs a frontend that is built into the daemon.</summary>
    public async Task<BuildResult> RunFrontendAsync(
        string name, IReadOnlyDictionary<string, string> options, IReadOnlyDictionary<string, Definition> inputs,
        IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, CancellationToken cancellationToken)
    {
        switch (name)
        {
            case "dockerfile.v0" when _services.DockerfileFrontend:
                var client = new Frontends.DockerfileClient(this, _services, options, inputs, imports, policies);
                return client.ToBuildResult(await new DockerfileFrontend().BuildAsync(client, cancellationToken));
            case "gateway.v0" when BuiltInFor(options) is { } features && _services.DockerfileFrontend:
                // An image of the reference's own Dockerfile frontend: what is built in does the same, without fetching it.
                var source = options["source"];
                await Job.InContextAsync(
                    $"[internal] built-in Dockerfile frontend in place of {source}", (_, _) => Task.FromResult(true), cancellationToken);
                var substitute = new Frontends.DockerfileClient(this, _services, options, inputs, imports, policies);
                return substitute.ToBuildResult(await new DockerfileFrontend(features).BuildAsync(substitute, cancellationToken));
            case "gateway.v0":
                throw new NotSupportedException(
                    $"frontend gateway.v0 (a frontend in an image, here {options.GetValueOrDefault("source", "none named")}) is not part of this version yet; use the built-in dockerfile.v0 without # syntax=");
            default:
                throw new InvalidOperationException($"invalid frontend: {name}");
        }
    }

    /// <summary>Resolves the config of an image, shown as a step of its own.</summary>
    public Task<(string Reference, Oci.Digest Digest, byte[] Config)> ResolveImageAsync(
        string reference, Platform? platform, string logName, CancellationToken cancellationToken)
    {
        var name = logName.Length > 0 ? logName : "resolve image config for " + reference;
        return Job.InContextAsync(
            name,
            async (context, token) =>
            {
                var parsed = Oci.ImageReference.ParseWithDefaultTag(reference);
                var image = await _services.Images.ResolveAsync(parsed, (platform ?? _services.DefaultPlatform).Normalize(), context.SessionIds, log: null, token);
                return (parsed.ToString(), image.Root.Digest, image.ConfigJson.ToArray());
            },
            cancellationToken);
    }

    /// <summary>Resolves the config of what a source names, shown as a step of its own; null for sources that have none.</summary>
    public async Task<(string Reference, Oci.Digest Digest, byte[] Config)?> ResolveSourceAsync(
        SourceOp source, Platform? platform, string logName, CancellationToken cancellationToken)
    {
        if (source.Identifier.StartsWith(ImageScheme, StringComparison.Ordinal))
            return await ResolveImageAsync(source.Identifier[ImageScheme.Length..], platform, logName, cancellationToken);
        if (source.Identifier.StartsWith(OciLayoutSource.Scheme, StringComparison.Ordinal))
            return await ResolveLayoutAsync(source, platform, logName, cancellationToken);
        return null;
    }

    private Task<(string Reference, Oci.Digest Digest, byte[] Config)> ResolveLayoutAsync(
        SourceOp source, Platform? platform, string logName, CancellationToken cancellationToken)
    {
        var reference = source.Identifier[OciLayoutSource.Scheme.Length..];
        return Job.InContextAsync(
            logName.Length > 0 ? logName : "resolve image config for " + source.Identifier,
            async (context, token) =>
            {
                var layout = new LayoutStore(
                    _services.Sessions, source.Attrs.GetValueOrDefault(OciLayoutSource.SessionAttribute, ""),
                    source.Attrs.GetValueOrDefault(OciLayoutSource.StoreAttribute, ""), context.SessionIds);
                var image = await layout.ResolveAsync(Oci.ImageReference.Parse(reference), (platform ?? _services.DefaultPlatform).Normalize(), token);
                return (reference, image.Root.Digest, image.ConfigJson.ToArray());
            },
            cancellationToken);
    }

    /// <summary>Caches imported so far.</summary>
    public IEnumerable<ICacheManager> Imports => _imports.Values;

    /// <summary>Files of a result.</summary>
    public string FileDirectory => _services.TemporaryDirectory;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var result in _results)
            await result.DisposeAsync();
        await Job.DiscardAsync();
    }

    private async Task<LazyResult?> LoadAsync(
        Definition definition, IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, CancellationToken cancellationToken)
    {
        if (definition.Def.Count == 0)
            return null;
        LlbGraph graph;
        try
        {
            graph = LlbGraph.Load(
                definition, PolicyWith(policies),
                new LlbLoadOptions
                {
                    AllowNetworkHost = Permissions.NetworkHost,
                    AllowSecurityInsecure = Permissions.SecurityInsecure,
                    DefaultPlatform = _services.DefaultPlatform,
                },
                cancellationToken);
        }
        catch (LlbException exception)
        {
            throw new SourcedException(new LlbException("failed to load LLB: " + exception.Message, exception), definition);
        }
        if (graph.PrunedCacheIds.Count > 0)
            await _services.CacheMounts.ForgetAsync([.. graph.PrunedCacheIds.Select(id => (id.Key, id.Value))], cancellationToken);
        var edge = SolverGraph.ToEdge(graph, [.. imports.Select(Import)]);
        var lazy = new LazyResult(definition, async token =>
        {
            try
            {
                return await Job.BuildAsync(edge, token);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                throw new SourcedException(exception, definition);
            }
        });
        _results.Add(lazy);
        return lazy;
    }

    /// <summary>What the built-in frontend must offer to stand in for an image named by <c># syntax=</c>; null when it is
    /// another frontend's image.</summary>
    private static DockerfileFeatures? BuiltInFor(IReadOnlyDictionary<string, string> options)
    {
        if (!options.TryGetValue("source", out var source) || !Oci.ImageReference.TryParse(source, out var reference))
            return null;
        if (reference.Name is not ("docker.io/docker/dockerfile" or "docker.io/docker/dockerfile-upstream" or "docker.io/moby/dockerfile"))
            return null;
        return reference.Tag.EndsWith("labs", StringComparison.Ordinal) ? DockerfileFeatures.Labs : DockerfileFeatures.Mainline;
    }

    private ICacheManager Import(CacheImport import)
    {
        var key = new StringBuilder(import.Type);
        foreach (var (name, value) in import.Attributes.OrderBy(attribute => attribute.Key, StringComparer.Ordinal))
            key.Append('\0').Append(name).Append('=').Append(value);
        return _imports.GetOrAdd(key.ToString(), _ => _services.Caches.OpenImport(import.Type, import.Attributes, Job));
    }
}

/// <summary>What a build was granted.</summary>
/// <param name="NetworkHost"><c>network.host</c>.</param>
/// <param name="SecurityInsecure"><c>security.insecure</c>.</param>
public sealed record BuildPermissions(bool NetworkHost, bool SecurityInsecure)
{
    /// <summary>The permissions a request asks for, if the daemon's configuration allows them.</summary>
    /// <exception cref="InvalidOperationException">Unknown, or not allowed; the text is the reference's.</exception>
    public static BuildPermissions Of(IEnumerable<string> requested, IReadOnlyList<string> allowed)
    {
        bool networkHost = false, securityInsecure = false;
        foreach (var entitlement in requested)
        {
            var name = entitlement.Split('=', 2)[0];
            switch (name)
            {
                case "network.host": networkHost = true; break;
                case "security.insecure": securityInsecure = true; break;
                case "device": continue;
                default: throw new InvalidOperationException($"unknown entitlement {entitlement}");
            }
            if (!allowed.Contains(name))
                throw new InvalidOperationException($"granting entitlement {name} is not allowed by build daemon configuration");
        }
        return new BuildPermissions(networkHost, securityInsecure);
    }
}

/// <summary>An error of a definition's step: the definition knows which lines of which file the step comes from.</summary>
public sealed class SourcedException(Exception cause, Definition definition) : Exception(cause.Message, cause)
{
    /// <summary>The definition whose source locations apply.</summary>
    public Definition Definition { get; } = definition;
}
