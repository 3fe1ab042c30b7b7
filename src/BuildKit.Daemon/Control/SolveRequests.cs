using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Explaining;
using BuildKit.Daemon.Gateway;
using BuildKit.Daemon.Hosting;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Results;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Control;

/// <summary>
/// <c>Control/Solve</c>, in this order (spec 01 §7, 07 §2): the request as older clients write it → outputs, cache exports
/// and attestations checked → job → permissions → frontend, definition or the client's own frontend → results computed →
/// attestations added → outputs → cache exports → answer.
/// </summary>
internal sealed class SolveRequests(BuildServices services, GatewayBuilds gateways, GarbageCollection garbage, IdleMemory memory, BuildLog builds, ILogger<SolveRequests> logger)
{
    private const string EpochOption = "build-arg:SOURCE_DATE_EPOCH";
    private const string EpochAttribute = "source-date-epoch";
    private int _running;

    /// <summary>Builds under way.</summary>
    public int Running => Volatile.Read(ref _running);

    /// <summary>Answers one request; lasts as long as the build.</summary>
    public async Task<SolveResponse> SolveAsync(SolveRequest request, ServerCallContext call)
    {
        Interlocked.Increment(ref _running);
        memory.Begin();
        try
        {
            return await SolveAsync(request, call.RequestHeaders, call.CancellationToken);
        }
        finally
        {
            Interlocked.Decrement(ref _running);
            memory.End();
            garbage.Request();
        }
    }

    private async Task<SolveResponse> SolveAsync(SolveRequest request, Metadata headers, CancellationToken cancellationToken)
    {
        Modernize(request);
        // The client's frontend may call before the build has begun.
        using var expectation = gateways.Expect(request.Ref);
        var exporters = Exporters(request);
        var cacheExports = await CacheExportsAsync(request, cancellationToken);
        using var attestations = AttestationProcessors.Parse(request.FrontendAttrs);

        var job = services.Solver.NewJob(request.Ref);
        job.SessionId = request.Session;
        attestations.Begin(services.Exec.Time);
        await using var build = new Build(services, job, Permissions(request), Policies(request));
        var remembered = builds.Begin(request, headers);
        var failed = true;
        try
        {
            var scope = new CaptureScope(null);
            var result = await ResultAsync(build, scope, request, cancellationToken);
            await Task.WhenAll(result.All.Select(lazy => lazy.EvaluateAsync(cancellationToken)));
            await attestations.AddAsync(build, services, scope, result, cancellationToken);
            var exported = await LostLayers.RenewingAsync(services.Solver, services.Refs, async () =>
            {
                foreach (var lazy in result.All)
                    await lazy.RenewAsync(made => made.Result is { } value && services.Refs.HasLostLayers(WorkerResult.RefIdOf(value.Id)));
                await Task.WhenAll(result.All.Select(lazy => lazy.EvaluateAsync(cancellationToken)));
                return await ExportAsync(build, request, result, exporters, cacheExports, cancellationToken);
            });
            var response = new SolveResponse();
            foreach (var (key, value) in exported)
                response.ExporterResponse[key] = value;
            foreach (var (key, value) in result.Metadata)
                if (key.StartsWith("frontend.", StringComparison.Ordinal))
                    response.ExporterResponse[key] = System.Text.Encoding.UTF8.GetString(value);
            failed = false;
            return response;
        }
        finally
        {
            // Readers of the progress get the end of it before the client gets the answer.
            job.CloseProgress();
            await builds.EndAsync(remembered, headers.Get(ExplainMethods.WantedHeader) is not null, failed, build.Imports);
        }
    }

    private async Task<BuildResult> ResultAsync(Build build, CaptureScope scope, SolveRequest request, CancellationToken cancellationToken)
    {
        IReadOnlyList<CacheImport> imports =
            [.. request.Cache.Imports.Select(import => new CacheImport(import.Type, new Dictionary<string, string>(import.Attrs, StringComparer.Ordinal)))];
        var inputs = new Dictionary<string, Definition>(request.FrontendInputs, StringComparer.Ordinal);
        var hasDefinition = request.Definition is { Def.Count: > 0 };
        if (hasDefinition && request.Frontend.Length > 0)
            throw new InvalidOperationException("cannot solve with both Definition and Frontend specified");
        // A definition without operations is an empty result; only a request without any waits for its caller to build.
        if (request.Definition is { } definition && request.Frontend.Length == 0)
            return await build.SolveAsync(scope, definition, imports, [], evaluate: false, cancellationToken);
        if (request.Frontend.Length > 0)
        {
            return await build.RunFrontendAsync(
                scope, request.Frontend, new Dictionary<string, string>(request.FrontendAttrs, StringComparer.Ordinal), inputs, imports, [], cancellationToken);
        }
        await using var gateway = new GatewayBuild(build, services, scope) { Inputs = inputs };
        using (gateways.Register(request.Ref, gateway))
            return await gateway.Returned.WaitAsync(cancellationToken);
    }

    private async Task<Dictionary<string, string>> ExportAsync(
        Build build, SolveRequest request, BuildResult result, IReadOnlyList<IExporter> exporters, IReadOnlyList<CacheExportTask> cacheExports,
        CancellationToken cancellationToken)
    {
        var response = new Dictionary<string, string>(StringComparer.Ordinal);
        var inline = cacheExports.FirstOrDefault(export => export.IsInline);
        var source = await SourceAsync(result, cancellationToken);
        var outputs = await Task.WhenAll(exporters.Select((exporter, index) => build.Job.InContextAsync(
            exporter.Name,
            (context, token) => exporter.ExportAsync(
                new ExportRequest
                {
                    Source = source,
                    Context = context,
                    SessionId = request.Session,
                    Sessions = services.Sessions,
                    InlineCache = inline is null ? null : (key, layers, compression, t) => InlineAsync(inline, result, key, layers, compression, context, t),
                },
                token),
            cancellationToken, id: $"{request.Session}-export-{index}")));
        foreach (var output in outputs)
            foreach (var (key, value) in output)
                response[key] = value;
        var cached = new List<CachedResult>();
        foreach (var lazy in result.All)
            cached.Add(await lazy.EvaluateAsync(cancellationToken));
        var caches = cacheExports.Index().Where(export => !export.Item.IsInline).ToList();
        var written = await Task.WhenAll(caches.Select((export, index) =>
            ExportCacheAsync(build, export.Item, cached, $"{request.Session}-cache-{index}", cancellationToken)));
        CacheResponse.Add(response, [.. caches.Zip(written, (export, output) => new WrittenCache(export.Index, export.Item.Type, output))]);
        return response;
    }

    private async Task<IReadOnlyDictionary<string, string>> ExportCacheAsync(
        Build build, CacheExportTask export, IReadOnlyList<CachedResult> results, string id, CancellationToken cancellationToken)
    {
        try
        {
            return await build.Job.InContextAsync(export.Name, (context, token) => export.RunAsync(results, build.CacheMounts, context, token), cancellationToken, id);
        }
        catch (Exception exception) when (export.IgnoreError && !cancellationToken.IsCancellationRequested)
        {
            logger.LogWarning(exception, "cache export failed, ignored as asked: {Message}", exception.Message);
            return new Dictionary<string, string>(StringComparer.Ordinal);
        }
    }

    private static async Task<byte[]?> InlineAsync(
        CacheExportTask export, BuildResult result, string key, RemoteLayers layers, CompressionOptions compression, IOperationContext context, CancellationToken cancellationToken)
    {
        var lazy = key.Length > 0 && result.Refs.TryGetValue(key, out var keyed) ? keyed : result.Ref;
        return lazy is null ? null : await CacheExportTask.CreateInlineAsync(await lazy.EvaluateAsync(cancellationToken), layers, compression, context, cancellationToken);
    }

    private static async Task<ExportSource> SourceAsync(BuildResult result, CancellationToken cancellationToken)
    {
        var refs = new Dictionary<string, IImmutableRef?>(StringComparer.Ordinal);
        foreach (var (key, lazy) in result.Refs)
            refs.Add(key, lazy is null ? null : await lazy.EvaluateRefAsync(cancellationToken));
        var attestations = new Dictionary<string, IReadOnlyList<ExportAttestation>>(StringComparer.Ordinal);
        foreach (var (key, list) in result.Attestations)
        {
            var converted = new List<ExportAttestation>();
            foreach (var attestation in list)
            {
                converted.Add(new ExportAttestation
                {
                    IsBundle = attestation.IsBundle,
                    Ref = attestation.Ref is null ? null : await attestation.Ref.EvaluateRefAsync(cancellationToken),
                    Content = attestation.Content,
                    Path = attestation.Path,
                    PredicateType = attestation.PredicateType,
                    Metadata = attestation.Metadata,
                    Subjects = attestation.Subjects,
                });
            }
            attestations.Add(key, converted);
        }
        return new ExportSource
        {
            Ref = result.Ref is null ? null : await result.Ref.EvaluateRefAsync(cancellationToken),
            Refs = refs,
            IsKeyed = result.IsKeyed,
            Metadata = result.Metadata,
            Attestations = attestations,
        };
    }

    private List<IExporter> Exporters(SolveRequest request)
    {
        var exporters = new List<IExporter>();
        foreach (var wanted in request.Exporters)
        {
            var attributes = new Dictionary<string, string>(wanted.Attrs, StringComparer.Ordinal);
            if (request.FrontendAttrs.TryGetValue(EpochOption, out var epoch))
                attributes.TryAdd(EpochAttribute, epoch);
            var factory = services.Exporters.GetValueOrDefault(wanted.Type)
                ?? throw new InvalidOperationException($"exporter \"{wanted.Type}\" could not be found");
            exporters.Add(factory.Create(exporters.Count, attributes));
        }
        return exporters;
    }

    private async Task<List<CacheExportTask>> CacheExportsAsync(SolveRequest request, CancellationToken cancellationToken)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var duplicates = new List<string>();
        foreach (var export in request.Cache.Exports)
        {
            // One repository can hold one cache, whatever the other settings.
            var identity = export.Type == "registry" && export.Attrs.TryGetValue("ref", out var reference) && reference.Length > 0 ? reference : export.Type + "\0" + string.Join('\0', export.Attrs.OrderBy(attribute => attribute.Key, StringComparer.Ordinal).Select(attribute => attribute.Key + "=" + attribute.Value));
            if (!seen.Add(identity))
                duplicates.Add(export.Type);
        }
        if (duplicates.Count > 0)
            throw new InvalidOperationException($"duplicate cache exports [{string.Join(' ', duplicates)}]");
        var exports = new List<CacheExportTask>();
        foreach (var export in request.Cache.Exports)
        {
            exports.Add(await services.Caches.OpenExportAsync(
                export.Type, new Dictionary<string, string>(export.Attrs, StringComparer.Ordinal), request.Session, cancellationToken));
        }
        return exports;
    }

    private BuildPermissions Permissions(SolveRequest request) => BuildPermissions.Of(request.Entitlements, services.AllowedEntitlements);

    private static List<Policy> Policies(SolveRequest request)
    {
        if (request.SourcePolicy is not { } policy)
            return [];
        foreach (var rule in policy.Rules)
            if (rule.Selector is null)
                throw new InvalidOperationException("invalid nil selector in policy");
        return [policy];
    }

    /// <summary>Older clients name one output, one cache export and cache imports in fields of their own.</summary>
    private static void Modernize(SolveRequest request)
    {
        request.Cache ??= new CacheOptions();
        if (request.Cache.ExportRefDeprecated.Length > 0)
        {
            var entry = new CacheOptionsEntry { Type = "registry", Attrs = { request.Cache.ExportAttrsDeprecated.ToDictionary() } };
            entry.Attrs["ref"] = request.Cache.ExportRefDeprecated;
            request.Cache.Exports.Add(entry);
        }
        foreach (var reference in request.Cache.ImportRefsDeprecated)
            request.Cache.Imports.Add(new CacheOptionsEntry { Type = "registry", Attrs = { ["ref"] = reference } });
        if (request.Exporters.Count == 0 && request.ExporterDeprecated.Length > 0)
        {
            request.Exporters.Add(new Exporter
            {
                Type = request.ExporterDeprecated,
                Attrs = { request.ExporterAttrsDeprecated.ToDictionary() },
            });
        }
    }
}
