using BuildKit.Protocol.Grpc;

namespace BuildKit.Daemon.Gateway;

/// <summary>Tells which build a frontend's call belongs to.</summary>
internal interface IGatewayBuilds
{
    /// <summary>The build of a call.</summary>
    /// <exception cref="RpcException">There is none.</exception>
    Task<GatewayBuild> FindAsync(ServerCallContext call);
}

/// <summary>The build of a frontend that has a connection of its own.</summary>
internal sealed class OneGatewayBuild(GatewayBuild build) : IGatewayBuilds
{
    /// <inheritdoc/>
    public Task<GatewayBuild> FindAsync(ServerCallContext call) => Task.FromResult(build);
}

/// <summary>Builds that wait for calls of their client's frontend, by build id.</summary>
internal sealed class GatewayBuilds(TimeProvider time) : IGatewayBuilds
{
    /// <summary>Metadata key that names the build a call belongs to.</summary>
    public const string BuildIdHeader = "buildkit-controlapi-buildid";

    /// <summary>A call may come before the build it belongs to has begun.</summary>
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(3);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GatewayBuild> _builds = new(StringComparer.Ordinal);
    private readonly HashSet<string> _announced = new(StringComparer.Ordinal);
    private TaskCompletionSource _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Says that a build is about to begin, until disposed: calls wait for it as long as its preparations take (a cache's
    /// store may be slow to say that it is there).</summary>
    public IDisposable Announce(string id)
    {
        lock (_gate)
            _announced.Add(id);
        return new Announcement(this, id);
    }

    /// <summary>Makes a build reachable until disposed.</summary>
    public IDisposable Register(string id, GatewayBuild build)
    {
        lock (_gate)
        {
            _builds[id] = build;
            _announced.Remove(id);
        }
        Arrived();
        return new Registration(this, id);
    }

    /// <inheritdoc/>
    public async Task<GatewayBuild> FindAsync(ServerCallContext call)
    {
        var ids = call.RequestHeaders.GetAll(BuildIdHeader);
        if (ids.Count != 1)
            throw Refused(call, StatusCode.Unknown, "no buildid found in context");
        var deadline = Task.Delay(Wait, time, call.CancellationToken);
        while (true)
        {
            Task arrival;
            bool isAnnounced;
            lock (_gate)
            {
                if (_builds.TryGetValue(ids[0], out var build))
                    return build;
                (arrival, isAnnounced) = (_arrival.Task, _announced.Contains(ids[0]));
            }
            if (!isAnnounced && deadline.IsCompleted)
                throw Refused(call, StatusCode.NotFound, $"no such job {ids[0]}");
            await (isAnnounced ? arrival.WaitAsync(call.CancellationToken) : Task.WhenAny(arrival, deadline));
        }
    }

    private static RpcException Refused(ServerCallContext call, StatusCode code, string reason) =>
        new(code, $"forwarding {call.Method[(call.Method.LastIndexOf('/') + 1)..]}: {reason}");

    private void Arrived()
    {
        lock (_gate)
        {
            _arrival.TrySetResult();
            _arrival = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    private sealed class Announcement(GatewayBuilds owner, string id) : IDisposable
    {
        public void Dispose()
        {
            lock (owner._gate)
                owner._announced.Remove(id);
            owner.Arrived();
        }
    }

    private sealed class Registration(GatewayBuilds owner, string id) : IDisposable
    {
        public void Dispose()
        {
            lock (owner._gate)
                owner._builds.Remove(id);
        }
    }
}
