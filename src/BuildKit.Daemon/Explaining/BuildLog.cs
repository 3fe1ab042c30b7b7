using System.Globalization;
using System.Net.Sockets;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Registry;
using BuildKit.RemoteCache.Import;
using BuildKit.Solver;
using BuildKit.Storage.Checksums;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Results;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Explaining;

/// <summary>Keeps the builds that can be explained, and answers why their steps were executed.</summary>
internal sealed class BuildLog(StepStore store, IRefStore refs, ContentChecksum checksums, string workerId, TimeProvider time, ILogger<BuildLog> logger) : IExplainedResults
{
    /// <summary>What the names of build arguments begin with among the options of a frontend.</summary>
    public const string ArgumentPrefix = "build-arg:";

    /// <summary>The option of a frontend that switches the cache off, for all or for some stages.</summary>
    public const string NoCacheOption = "no-cache";

    private const long LargestRead = 64 << 20;

    /// <summary>The RPC service.</summary>
    public GrpcService ToService() => new GrpcService().Unary(ExplainMethods.Explain, ExplainAsync);

    /// <summary>Takes note of a build that begins.</summary>
    /// <param name="request">What was asked for.</param>
    /// <param name="headers">What the client told beside it.</param>
    public BuildRecord Begin(SolveRequest request, Metadata headers)
    {
        var build = new BuildRecord { Ref = request.Ref, Started = Now(), Scope = headers.Get(ExplainMethods.ScopeHeader) ?? "" };
        // The values of arguments are part of the steps that use them; nothing more of them is kept.
        foreach (var name in request.FrontendAttrs.Keys.Where(name => name.StartsWith(ArgumentPrefix, StringComparison.Ordinal)))
            build.Options[name] = "";
        if (request.FrontendAttrs.TryGetValue(NoCacheOption, out var stages))
            build.Options[NoCacheOption] = stages;
        _ = store.PutBuildAsync(build, isNew: true);
        return build;
    }

    /// <summary>Takes note of its end.</summary>
    /// <param name="build">What <see cref="Begin"/> returned.</param>
    /// <param name="isWanted">The client will ask why: the explanation is made now, while the results are held.</param>
    /// <param name="failed">Whether it failed.</param>
    /// <param name="imports">The caches it imported.</param>
    public async Task EndAsync(BuildRecord build, bool isWanted, bool failed, IEnumerable<ICacheManager> imports)
    {
        build.Completed = Now();
        build.Failed = failed;
        build.Imports.AddRange(imports.OfType<ImportedCache>().Select(Describe).OrderBy(import => import.Name, StringComparer.Ordinal));
        var kept = store.PutBuildAsync(build, isNew: false);
        if (!isWanted)
            return;
        try
        {
            await kept;
            if (await new Explainer(store, this).ExplainAsync(build.Ref, isLive: true, CancellationToken.None) is { } explanation)
                await store.PutExplanationAsync(explanation);
        }
        catch (Exception failure)
        {
            // The build is what counts; the client is told when it asks.
            logger.LogError(failure, "build {Ref} could not be explained", build.Ref);
        }
    }

    /// <summary>Takes note of records that a prune or a collection deleted.</summary>
    /// <param name="record">What was deleted.</param>
    /// <param name="rule">Number of the collection's rule, from 1; 0 for a client's prune.</param>
    public void Pruned(Storage.Refs.UsageRecord record, int rule) =>
        _ = store.MarkPrunedAsync(record.RemovedIds, workerId, time.GetUtcNow(), PruneText.Of(record.PrunedBy, rule));

    /// <inheritdoc/>
    public bool Exists(string resultId) => WorkerResult.RefIdOf(resultId) is { Length: > 0 } id ? refs.Exists(id) : true;

    /// <inheritdoc/>
    public async Task<bool> HasSameContentAsync(string resultId, ContentEntry before, CancellationToken cancellationToken)
    {
        if (before.Stat is not { Size: <= LargestRead } stat)
            return false;
        try
        {
            await using var reference = await refs.GetAsync(WorkerResult.RefIdOf(resultId), RefOptions.Default with { NoUpdateLastUsed = true }, cancellationToken);
            return await checksums.WouldMatchAsync(reference, before.Path, stat, before.Mark, cancellationToken);
        }
        catch (Exception failure) when (failure is RefNotFoundException or RefLockedException or MissingDescriptorHandlersException or IOException)
        {
            // What cannot be looked at counts as changed.
            return false;
        }
    }

    private async Task<BuildExplanation> ExplainAsync(ExplainRequest request, ServerCallContext call)
    {
        store.Flush();
        return await new Explainer(store, this).ExplainAsync(request.Ref, isLive: false, call.CancellationToken)
            ?? throw new RpcException(StatusCode.NotFound, request.Ref.Length == 0 ? "no build is remembered" : $"build {request.Ref} is not remembered");
    }

    private static CacheImport Describe(ImportedCache import) => new()
    {
        Name = import.Id,
        Problem = import.Failure is null ? "" : ProblemOf(import.Failure),
        Error = import.Failure?.Message ?? "",
    };

    private static string ProblemOf(Exception failure)
    {
        for (var cause = failure; cause is not null; cause = cause.InnerException)
        {
            switch (cause)
            {
                case RegistryNotFoundException:
                    return "not-found";
                case RegistryAuthorizationException:
                    return "denied";
                case RegistryTransportException or SocketException or TimeoutException or HttpRequestException:
                    return "unreachable";
                case System.Text.Json.JsonException or InvalidDataException or FormatException:
                    return "invalid";
                default:
                    break;
            }
        }
        return failure.Message.Contains("not found", StringComparison.OrdinalIgnoreCase) ? "not-found" : "failed";
    }

    private long Now() => time.GetUtcNow().ToUnixTimeMilliseconds();
}

/// <summary>Names what pruned a record.</summary>
internal static class PruneText
{
    /// <summary>A client's prune, or a rule of the collection with what it says.</summary>
    public static string Of(PruneOptions? policy, int rule)
    {
        var parts = new List<string>();
        if (policy is not null)
        {
            if (policy.All && rule == 0)
                parts.Add("all");
            if (policy.KeepDuration > TimeSpan.Zero)
                parts.Add("unused for " + Duration(policy.KeepDuration));
            if (policy.ReservedSpace > 0)
                parts.Add("reserved space " + Bytes(policy.ReservedSpace));
            if (policy.MaxUsedSpace > 0)
                parts.Add("max used space " + Bytes(policy.MaxUsedSpace));
            if (policy.MinFreeSpace > 0)
                parts.Add("min free space " + Bytes(policy.MinFreeSpace));
            if (policy.Filters.Count > 0)
                parts.Add("filter " + string.Join(' ', policy.Filters));
        }
        var detail = parts.Count > 0 ? $" ({string.Join(", ", parts)})" : "";
        return rule == 0 ? "buildctl prune" + detail : string.Create(CultureInfo.InvariantCulture, $"garbage collection, rule {rule}{detail}");
    }

    private static string Duration(TimeSpan duration) => duration.TotalHours >= 1 && duration.Minutes == 0 && duration.Seconds == 0
        ? string.Create(CultureInfo.InvariantCulture, $"{(long)duration.TotalHours}h")
        : string.Create(CultureInfo.InvariantCulture, $"{duration.TotalSeconds:0}s");

    private static string Bytes(long bytes) => bytes switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:0.##}GB"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:0.##}MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes}B"),
    };
}
