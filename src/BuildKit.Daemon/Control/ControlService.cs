using System.Globalization;
using BuildKit.Daemon.Solving;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Session.Transport;
using BuildKit.Storage.Refs;
using Google.Protobuf.WellKnownTypes;
using UsageRecord = BuildKit.Protocol.Control.UsageRecord;

namespace BuildKit.Daemon.Control;

/// <summary><c>moby.buildkit.v1.Control</c>: what clients ask of the daemon (spec 01 §1.1, §7).</summary>
internal sealed class ControlService(BuildServices services, SessionManager sessions, SolveRequests solves, GarbageCollection garbage)
{
    private const string TimestampHeader = "buildkit-current-timestamp";

    /// <summary>The handlers.</summary>
    public GrpcService ToService() => new GrpcService()
        .Unary(ControlMethods.Info, (_, _) => Task.FromResult(new InfoResponse { BuildkitVersion = WorkerMessages.VersionMessage() }))
        .Unary(ControlMethods.ListWorkers, ListWorkersAsync)
        .Unary(ControlMethods.DiskUsage, DiskUsageAsync)
        .Stream(ControlMethods.Prune, PruneAsync)
        .Unary(ControlMethods.Solve, solves.SolveAsync)
        .Stream(ControlMethods.Status, StatusAsync)
        .Stream(ControlMethods.Session, sessions.HandleAsync)
        .Stream(ControlMethods.ListenBuildHistory, ListenBuildHistoryAsync)
        .Unary(ControlMethods.UpdateBuildHistory, UpdateBuildHistoryAsync);

    private Task<ListWorkersResponse> ListWorkersAsync(ListWorkersRequest request, ServerCallContext call)
    {
        var response = new ListWorkersResponse();
        response.Record.Add(WorkerMessages.Full(services.Worker));
        return Task.FromResult(response);
    }

    private async Task<DiskUsageResponse> DiskUsageAsync(DiskUsageRequest request, ServerCallContext call)
    {
        var response = new DiskUsageResponse();
        foreach (var record in await services.Refs.DiskUsageAsync([.. request.Filter], call.CancellationToken))
            response.Record.Add(Message(record));
        return response;
    }

    private async Task PruneAsync(ServerStream<PruneRequest, UsageRecord> stream)
    {
        var request = await stream.ReadAsync(stream.CancellationToken) ?? new PruneRequest();
        var options = new PruneOptions(
            [.. request.Filter], request.All, TimeSpan.FromTicks(request.KeepDuration / TimeSpan.NanosecondsPerTick),
            request.ReservedSpace, request.MaxUsedSpace, request.MinFreeSpace);
        var pruned = System.Threading.Channels.Channel.CreateUnbounded<UsageRecord>();
        var work = garbage.PruneAsync([options], record => pruned.Writer.TryWrite(Message(record)), stream.CancellationToken)
            .ContinueWith(task => pruned.Writer.Complete(task.Exception?.InnerException), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        await foreach (var record in pruned.Reader.ReadAllAsync(stream.CancellationToken))
            await stream.SendAsync(record, stream.CancellationToken);
        await work;
    }

    private async Task StatusAsync(ServerStream<StatusRequest, StatusResponse> stream)
    {
        var request = await stream.ReadAsync(stream.CancellationToken) ?? throw new RpcException(StatusCode.InvalidArgument, "no build named");
        stream.ResponseHeaders.Add(TimestampHeader, Now());
        var job = await services.Solver.GetJobAsync(request.Ref, stream.CancellationToken);
        await foreach (var status in job.StatusAsync(stream.CancellationToken))
            foreach (var message in StatusMessages.From(status))
                await stream.SendAsync(message, stream.CancellationToken);
    }

    /// <summary>The daemon keeps no records of ended builds: there are none to tell, and listening waits for the caller to leave.</summary>
    private static async Task ListenBuildHistoryAsync(ServerStream<BuildHistoryRequest, BuildHistoryEvent> stream)
    {
        var request = await stream.ReadAsync(stream.CancellationToken) ?? new BuildHistoryRequest();
        stream.ResponseHeaders.Add(TimestampHeader, Now());
        if (request.EarlyExit)
            return;
        await Task.Delay(Timeout.Infinite, stream.CancellationToken);
    }

    private static Task<UpdateBuildHistoryResponse> UpdateBuildHistoryAsync(UpdateBuildHistoryRequest request, ServerCallContext call) =>
        throw new RpcException(StatusCode.NotFound, $"failed to retrieve build history for {request.Ref}: this daemon keeps no build history");

    private static string Now()
    {
        var text = DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ss.fffffff", CultureInfo.InvariantCulture).TrimEnd('0').TrimEnd('.');
        return text + "Z";
    }

    private static UsageRecord Message(Storage.Refs.UsageRecord record)
    {
        var message = new UsageRecord
        {
            ID = record.Id,
            Mutable = record.Mutable,
            InUse = record.InUse,
            Size = record.Size,
            CreatedAt = Timestamp.FromDateTimeOffset(record.CreatedAt),
            LastUsedAt = record.LastUsedAt is { } used ? Timestamp.FromDateTimeOffset(used) : null,
            UsageCount = record.UsageCount,
            Description = record.Description,
            RecordType = record.RecordType,
            Shared = record.Shared,
        };
        message.Parents.AddRange(record.Parents);
        return message;
    }
}
