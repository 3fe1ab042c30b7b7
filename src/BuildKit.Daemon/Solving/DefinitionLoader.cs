using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Solver;
using BuildKit.Worker.Ops.Exec;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Daemon.Solving;

/// <summary>Makes the solver's graphs of definitions, those of builds and those that steps of builds made.</summary>
/// <param name="defaultPlatform">Platform of steps that name none.</param>
/// <param name="cacheMounts">Cache directories, of which a definition may ask for new ones.</param>
public sealed class DefinitionLoader(Platform defaultPlatform, CacheMounts cacheMounts)
{
    /// <summary>Key of a build's permissions in <see cref="Job.Values"/>.</summary>
    public const string PermissionsKey = "permissions";

    /// <summary>Key of a build's source policies in <see cref="Job.Values"/>.</summary>
    public const string PoliciesKey = "policies";

    /// <summary>The edge a definition stands for; <paramref name="loaded"/> sees the graph before anything of it runs.</summary>
    /// <exception cref="SourcedException">It is broken or not allowed.</exception>
    public async Task<Edge> LoadAsync(
        Definition definition, IReadOnlyList<Policy> policies, BuildPermissions permissions, IReadOnlyList<ICacheManager> caches, CancellationToken cancellationToken,
        Action<LlbGraph>? loaded = null)
    {
        LlbGraph graph;
        try
        {
            graph = LlbGraph.Load(
                definition, policies.Count > 0 ? new SourcePolicyEngine(policies) : null,
                new LlbLoadOptions
                {
                    AllowNetworkHost = permissions.NetworkHost,
                    AllowSecurityInsecure = permissions.SecurityInsecure,
                    DefaultPlatform = defaultPlatform,
                },
                cancellationToken);
        }
        catch (LlbException exception)
        {
            throw new SourcedException(new LlbException("failed to load LLB: " + exception.Message, exception), definition);
        }
        loaded?.Invoke(graph);
        if (graph.PrunedCacheIds.Count > 0)
            await cacheMounts.ForgetAsync([.. graph.PrunedCacheIds.Select(id => (id.Key, id.Value))], cancellationToken);
        return SolverGraph.ToEdge(graph, caches);
    }

    /// <summary>Solves a definition made by a step. It may do what any build that waits for the step may, and must obey
    /// the policies of all of them.</summary>
    public async Task<CachedResult?> SolveBelowAsync(Definition definition, ISubBuilder builder, CancellationToken cancellationToken)
    {
        if (definition.Def.Count == 0)
            return null;
        var permissions = builder.GetValues(PermissionsKey).OfType<BuildPermissions>().ToList();
        var edge = await LoadAsync(
            definition, [.. builder.GetValues(PoliciesKey).OfType<IReadOnlyList<Policy>>().SelectMany(policies => policies)],
            new BuildPermissions(permissions.Exists(p => p.NetworkHost), permissions.Exists(p => p.SecurityInsecure)), [], cancellationToken);
        try
        {
            return await builder.BuildAsync(edge, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            throw new SourcedException(exception, definition);
        }
    }
}
