using System.Collections.Concurrent;
using System.Text;
using BuildKit.Daemon.Attesting;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
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
        CacheMounts = new BuildCacheMounts(services.Exec.CacheMounts, services.CacheMountTransfer, job);
        Permissions = permissions;
        _policies = policies;
        job.Values[DefinitionLoader.PermissionsKey] = permissions;
        job.Values[DefinitionLoader.PoliciesKey] = policies;
    }

    /// <summary>The solver's side of this build.</summary>
    public Job Job { get; }

    /// <summary>Cache mounts of its steps.</summary>
    public BuildCacheMounts CacheMounts { get; }

    /// <summary>What the request was granted.</summary>
    public BuildPermissions Permissions { get; }

    /// <summary>Source policies in force for a call that brings further ones.</summary>
    public ISourcePolicy? PolicyWith(IReadOnlyList<Policy> further)
    {
        IReadOnlyList<Policy> all = [.. _policies, .. further];
        return all.Count > 0 ? new SourcePolicyEngine(all) : null;
    }

    /// <summary>Solves a definition for a frontend, lazily unless <paramref name="evaluate"/>.</summary>
    public async Task<BuildResult> SolveAsync(
        CaptureScope caller, Definition definition, IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, bool evaluate, CancellationToken cancellationToken)
    {
        var result = new BuildResult { Ref = await LoadAsync(definition, imports, policies, cancellationToken) };
        if (result.Ref is null)
            return result;
        caller.Add(result.Ref);
        if (evaluate)
            await result.Ref.EvaluateAsync(cancellationToken);
        return result;
    }

    /// <summary>Runs a frontend for another one or the client: the built-in one, or the one in an image.</summary>
    /// <exception cref="InvalidOperationException"><c>invalid frontend: X</c>.</exception>
    public async Task<BuildResult> RunFrontendAsync(
        CaptureScope caller, string name, IReadOnlyDictionary<string, string> options, IReadOnlyDictionary<string, Definition> inputs,
        IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, CancellationToken cancellationToken)
    {
        var scope = new CaptureScope(new FrontendRequest(name, options, inputs.Count > 0));
        var client = new Frontends.DockerfileClient(this, _services, scope, options, inputs, imports, policies);
        var result = name switch
        {
            "dockerfile.v0" when _services.DockerfileFrontend =>
                client.ToBuildResult(await new DockerfileFrontend().BuildAsync(client, cancellationToken)),
            "gateway.v0" when _services.Gateway.Enabled =>
                await new Frontends.ImageFrontend(this, _services, client, scope, options, inputs, imports, policies).RunAsync(cancellationToken),
            _ => throw new InvalidOperationException($"invalid frontend: {name}"),
        };
        caller.Add(scope);
        return result;
    }

    /// <summary>Resolves the config of an image, shown as a step of its own.</summary>
    public Task<(string Reference, Oci.Digest Digest, byte[] Config)> ResolveImageAsync(
        string reference, Platform? platform, string logName, CancellationToken cancellationToken)
    {
        var name = logName.Length > 0 ? logName : "resolve image config for docker-image://" + reference;
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

    /// <summary>Where files of results are mounted.</summary>
    public string FileDirectory => _services.TemporaryDirectory;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var result in _results)
            await result.DisposeAsync();
        CacheMounts.Dispose();
        await Job.DiscardAsync();
    }

    private async Task<LazyResult?> LoadAsync(
        Definition definition, IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies, CancellationToken cancellationToken)
    {
        if (definition.Def.Count == 0)
            return null;
        var edge = await _services.Definitions.LoadAsync(definition, [.. _policies, .. policies], Permissions, [.. imports.Select(Import)], cancellationToken, CacheMounts.Use);
        var lazy = new LazyResult(
            definition,
            async token =>
            {
                try
                {
                    return await LostLayers.RenewingAsync(_services.Solver, _services.Refs, () => Job.BuildAsync(edge, token));
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    throw new SourcedException(exception, definition);
                }
            },
            () => Job.ResolvedOperations(edge));
        _results.Add(lazy);
        return lazy;
    }

    private ICacheManager Import(CacheImport import)
    {
        var key = new StringBuilder(import.Type);
        foreach (var (name, value) in import.Attributes.OrderBy(attribute => attribute.Key, StringComparer.Ordinal))
            key.Append('\0').Append(name).Append('=').Append(value);
        var cache = _imports.GetOrAdd(key.ToString(), _ => _services.Caches.OpenImport(import.Type, import.Attributes, Job));
        CacheMounts.Import(cache, import.Attributes);
        return cache;
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
