using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Session.Content;
using BuildKit.Session.FileSend;
using BuildKit.Session.FileSync;
using BuildKit.Session.Transport;
using GatewayEntry = BuildKit.Protocol.Gateway.CacheOptionsEntry;
using GatewayResult = BuildKit.Protocol.Gateway.Result;
using GatewaySolve = BuildKit.Protocol.Gateway.SolveRequest;

namespace BuildKit.Client;

/// <summary>
/// Runs builds (spec 01 §8.1). Four things go on at once: the session serves the daemon's calls, Control/Status reports
/// what happens, Control/Solve waits for the result and exports it, and the gateway client, which is what a frontend
/// would be, asks for the one result to build and returns it to the waiting Solve.
/// </summary>
/// <param name="channel">Connection to the daemon; stays the caller's.</param>
public sealed class BuildClient(IGrpcChannel channel)
{
    private const string BuildIdHeader = "buildkit-controlapi-buildid";
    private static readonly TimeSpan PingTimeout = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan StatusPatience = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan SolvePatience = TimeSpan.FromSeconds(5);

    /// <summary>Builds.</summary>
    /// <param name="options">What to build and what to do with it.</param>
    /// <param name="status">Gets every progress message, one after the other; no more once this method has ended.</param>
    /// <param name="cancellationToken">Cancels the build on the daemon.</param>
    /// <exception cref="RpcException">The daemon's answer, or <see cref="StatusCode.Cancelled"/>.</exception>
    /// <exception cref="ClientException">The options contradict each other.</exception>
    public async Task<BuildResult> BuildAsync(SolveOptions options, Action<StatusResponse>? status, CancellationToken cancellationToken)
    {
        var stores = await LocalStores.OpenAsync(options, cancellationToken);
        var attributes = new Dictionary<string, string>(options.FrontendAttributes, StringComparer.Ordinal);
        if (stores.CacheImports.Count > 0)
            attributes[CacheImportsAttribute.Name] = CacheImportsAttribute.Format(stores.CacheImports);

        using var statusLife = new CancellationTokenSource();
        using var work = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        BuildResult result;
        await using (var session = SessionCallee.Start(channel, SessionId.New(), options.SharedKey, Services(options, stores), options: null, CancellationToken.None))
        {
            var watching = status is null ? Task.CompletedTask : WatchAsync(options.Ref, status, statusLife.Token);
            var solving = channel.UnaryAsync(ControlMethods.Solve, ToRequest(options, stores, attributes, session.Id), SolveCall(options), cancellationToken);
            var asking = AskAsync(options, stores, attributes, work.Token);
            try
            {
                result = await JoinAsync(solving, asking, work);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                throw new RpcException(StatusCode.Cancelled, "context canceled");
            }
            finally
            {
                statusLife.CancelAfter(StatusPatience);
                await watching;
            }
        }
        await stores.FinishAsync(result.ExporterResponse, cancellationToken);
        return result;
    }

    private static async Task<BuildResult> JoinAsync(Task<SolveResponse> solving, Task<GatewayResult> asking, CancellationTokenSource work)
    {
        await Task.WhenAny(solving, asking);
        if (solving.IsCompleted && !solving.IsCompletedSuccessfully)
        {
            // The build is over; whatever the gateway call says now is a consequence.
            await work.CancelAsync();
            await asking.ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            await solving;
        }
        GatewayResult built;
        try
        {
            built = await asking;
        }
        catch (RpcException)
        {
            // The daemon was told (Return with the error); its own answer says more than ours.
            await Task.WhenAny(solving, Task.Delay(SolvePatience, work.Token));
            if (solving.IsCompleted)
                await solving;
            throw;
        }
        var response = await solving;
        var metadata = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var (key, value) in built.Metadata)
            metadata.Add(key, value.ToByteArray());
        return new BuildResult(new Dictionary<string, string>(response.ExporterResponse, StringComparer.Ordinal), metadata);
    }

    private async Task<GatewayResult> AskAsync(SolveOptions options, LocalStores stores, Dictionary<string, string> attributes, CancellationToken cancellationToken)
    {
        var headers = new Metadata { { BuildIdHeader, options.Ref } };
        var call = new CallOptions(headers);
        await channel.UnaryAsync(LLBBridgeMethods.Ping, new Protocol.Gateway.PingRequest(), new CallOptions(headers, PingTimeout), cancellationToken);
        var request = new GatewaySolve
        {
            Frontend = options.Frontend,
            Definition = options.Definition,
            AllowResultReturn = true,
            AllowResultArrayRef = true,
        };
        foreach (var (key, value) in attributes)
            request.FrontendOpt[key] = value;
        if (attributes.ContainsKey("requestid") && !attributes.ContainsKey("frontend.caps"))
            request.FrontendOpt["frontend.caps"] = "moby.buildkit.frontend.subrequests";
        foreach (var import in stores.CacheImports)
        {
            var entry = new GatewayEntry { Type = import.Type };
            foreach (var (key, value) in import.Attributes)
                entry.Attrs[key] = value;
            request.CacheImports.Add(entry);
        }
        GatewayResult result;
        try
        {
            result = (await channel.UnaryAsync(LLBBridgeMethods.Solve, request, call, cancellationToken)).Result ?? new GatewayResult();
        }
        catch (RpcException answer) when (answer.Code != StatusCode.Unavailable)
        {
            var failure = new Protocol.Gateway.ReturnRequest { Error = GrpcStatus.ToStatus(answer) };
            await channel.UnaryAsync(LLBBridgeMethods.Return, failure, call, cancellationToken);
            throw;
        }
        await channel.UnaryAsync(LLBBridgeMethods.Return, new Protocol.Gateway.ReturnRequest { Result = result }, call, cancellationToken);
        return result;
    }

    private async Task WatchAsync(string reference, Action<StatusResponse> status, CancellationToken cancellationToken)
    {
        try
        {
            await using var call = channel.Open(ControlMethods.Status, default, cancellationToken);
            await call.SendAsync(new StatusRequest { Ref = reference }, cancellationToken);
            await call.CompleteAsync(cancellationToken);
            while (await call.ReadAsync(cancellationToken) is { } message)
                status(message);
        }
        catch (Exception failure) when (failure is RpcException or OperationCanceledException)
        {
            // Progress is a courtesy: a build is never failed because of it, and Solve reports a broken connection itself.
        }
    }

    private static List<GrpcService> Services(SolveOptions options, LocalStores stores)
    {
        var services = new List<GrpcService>(options.SessionServices);
        if (options.LocalDirectories.Count > 0)
            services.Add(FileSyncProvider.Create(options.LocalDirectories));
        var targets = new Dictionary<int, SendTarget>();
        for (var i = 0; i < options.Exports.Count; i++)
        {
            if (options.Exports[i].Target is { } target)
                targets.Add(i, target);
        }
        if (targets.Count > 0)
            services.Add(FileSendTarget.Create(targets));
        if (stores.Stores.Count > 0)
            services.Add(new ContentStoreProvider(stores.Stores).ToService());
        return services;
    }

    private static SolveRequest ToRequest(SolveOptions options, LocalStores stores, Dictionary<string, string> attributes, string session)
    {
        var request = new SolveRequest { Ref = options.Ref, Session = session, Cache = new CacheOptions(), SourcePolicy = options.SourcePolicy };
        foreach (var (key, value) in attributes)
            request.FrontendAttrs[key] = value;
        foreach (var export in options.Exports)
        {
            var exporter = new Exporter { Type = export.Type };
            foreach (var (key, value) in export.Attributes)
                exporter.Attrs[key] = value;
            request.Exporters.Add(exporter);
        }
        if (request.Exporters.Count > 0)
        {
            // Daemons before 0.13 know one exporter only.
            request.ExporterDeprecated = request.Exporters[0].Type;
            request.ExporterAttrsDeprecated.Add(request.Exporters[0].Attrs);
        }
        foreach (var cache in options.CacheExports)
            request.Cache.Exports.Add(Entry(cache));
        foreach (var cache in stores.CacheImports)
            request.Cache.Imports.Add(Entry(cache));
        request.Entitlements.AddRange(options.Entitlements);
        return request;
    }

    /// <summary>What a daemon that can explain builds is told beside the request; others ignore it.</summary>
    private static CallOptions SolveCall(SolveOptions options)
    {
        var headers = new Metadata();
        if (options.ExplainsCache)
            headers.Add(ExplainMethods.WantedHeader, "1");
        if (options.LocalDirectories.Count > 0)
        {
            var directories = options.LocalDirectories.OrderBy(local => local.Key, StringComparer.Ordinal).Select(local => $"{local.Key}={Path.GetFullPath(local.Value.Path)}");
            headers.Add(ExplainMethods.ScopeHeader, Oci.Digest.Sha256(string.Join('\n', directories)).Hex[..16]);
        }
        return new CallOptions(headers);
    }

    private static CacheOptionsEntry Entry(CacheRequest cache)
    {
        var entry = new CacheOptionsEntry { Type = cache.Type };
        foreach (var (key, value) in cache.Attributes)
            entry.Attrs[key] = value;
        return entry;
    }
}
