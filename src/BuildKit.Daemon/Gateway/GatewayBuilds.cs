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
    private readonly List<string> _expected = [];
    private TaskCompletionSource _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Tells that a build will begin, however long that takes (a cache export's service may be slow): until disposed, calls
    /// that belong to it wait for it.</summary>
    public IDisposable Expect(string id)
    {
        Change(() => _expected.Add(id));
        return new Registration(() => Change(() => _expected.Remove(id)));
    }

    /// <summary>Makes a build reachable until disposed.</summary>
    public IDisposable Register(string id, GatewayBuild build)
    {
        Change(() => _builds[id] = build);
        return new Registration(() => Change(() => _builds.Remove(id)));
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
            bool isExpected;
            lock (_gate)
            {
                if (_builds.TryGetValue(ids[0], out var build))
                    return build;
                (arrival, isExpected) = (_arrival.Task, _expected.Contains(ids[0]));
            }
            if (isExpected)
                await arrival.WaitAsync(call.CancellationToken);
            else if (await Task.WhenAny(arrival, deadline) == deadline)
                throw Refused(call, StatusCode.NotFound, $"no such job {ids[0]}");
        }
    }

    private static RpcException Refused(ServerCallContext call, StatusCode code, string reason) =>
        new(code, $"forwarding {call.Method[(call.Method.LastIndexOf('/') + 1)..]}: {reason}");

    private void Change(Action change)
    {
        lock (_gate)
        {
            change();
            _arrival.TrySetResult();
            _arrival = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    private sealed class Registration(Action end) : IDisposable
    {
        public void Dispose() => end();
    }
}
