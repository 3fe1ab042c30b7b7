using BuildKit.Daemon.Solving;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Daemon.Gateway;

/// <summary>A build driven by a frontend outside the daemon: the refs it was given and what it returned.</summary>
internal sealed class GatewayBuild(Build build)
{
    private readonly System.Collections.Concurrent.ConcurrentDictionary<string, LazyResult?> _refs = new(StringComparer.Ordinal);
    private readonly TaskCompletionSource<BuildResult> _returned = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The build.</summary>
    public Build Build { get; } = build;

    /// <summary>Completes with what the frontend returns.</summary>
    public Task<BuildResult> Returned => _returned.Task;

    /// <summary>Gives a result an id; an empty tree has the empty id.</summary>
    public string Add(LazyResult? result)
    {
        if (result is null)
            return "";
        var id = Session.Transport.SessionId.New();
        _refs[id] = result;
        return id;
    }

    /// <summary>The result with an id.</summary>
    public LazyResult? Find(string id, string what)
    {
        if (id.Length == 0)
            return null;
        return _refs.TryGetValue(id, out var result) ? result : throw new RpcException(StatusCode.Unknown, $"{what} {id} not found");
    }

    /// <summary>Takes the frontend's result or error, once.</summary>
    public void Return(ReturnRequest request)
    {
        bool taken;
        if (request is { Result: not null, Error: null })
            taken = _returned.TrySetResult(ResultOf(request.Result));
        else if (request.Error is { } error)
            taken = _returned.TrySetException(new RpcException((StatusCode)error.Code, error.Message, [.. error.Details]));
        else
            taken = _returned.TrySetException(new InvalidOperationException("gateway return must be either result or err"));
        if (!taken)
            throw new RpcException(StatusCode.Unknown, "gateway result is already set");
    }

    private BuildResult ResultOf(Result result)
    {
        var built = new BuildResult();
        switch (result.ResultCase)
        {
            case Result.ResultOneofCase.Ref:
                built.Ref = Find(result.Ref.Id, "return reference");
                break;
            case Result.ResultOneofCase.RefDeprecated:
                built.Ref = Find(result.RefDeprecated, "return reference");
                break;
            case Result.ResultOneofCase.Refs:
                built.IsKeyed = true;
                foreach (var (key, reference) in result.Refs.Refs)
                    built.Refs.Add(key, Find(reference.Id, "return reference"));
                break;
            case Result.ResultOneofCase.RefsDeprecated:
                built.IsKeyed = true;
                foreach (var (key, id) in result.RefsDeprecated.Refs)
                    built.Refs.Add(key, Find(id, "return reference"));
                break;
        }
        foreach (var (key, value) in result.Metadata)
            built.Metadata.Add(key, value.ToByteArray());
        foreach (var (key, attestations) in result.Attestations)
            built.Attestations.Add(key, [.. attestations.Attestation.Select(attestation => new BuildAttestation(
                attestation.Kind == AttestationKind.Bundle,
                Find(attestation.Ref?.Id ?? "", "return reference"), attestation.Path, attestation.InTotoPredicateType,
                attestation.Metadata.ToDictionary(pair => pair.Key, pair => pair.Value.ToByteArray(), StringComparer.Ordinal)))]);
        return built;
    }
}

/// <summary>Builds that wait for calls of their client's frontend, by build id.</summary>
internal sealed class GatewayBuilds(TimeProvider time)
{
    /// <summary>Metadata key that names the build a call belongs to.</summary>
    public const string BuildIdHeader = "buildkit-controlapi-buildid";

    /// <summary>A call may come before the build it belongs to has begun.</summary>
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(3);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GatewayBuild> _builds = new(StringComparer.Ordinal);
    private TaskCompletionSource _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Makes a build reachable until disposed.</summary>
    public IDisposable Register(string id, GatewayBuild build)
    {
        lock (_gate)
        {
            _builds[id] = build;
            _arrival.TrySetResult();
            _arrival = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
        return new Registration(this, id);
    }

    /// <summary>The build a call belongs to.</summary>
    public async Task<GatewayBuild> FindAsync(ServerCallContext call)
    {
        var ids = call.RequestHeaders.GetAll(BuildIdHeader);
        if (ids.Count != 1)
            throw new RpcException(StatusCode.Unknown, "no buildid found in context");
        var deadline = Task.Delay(Wait, time, call.CancellationToken);
        while (true)
        {
            Task arrival;
            lock (_gate)
            {
                if (_builds.TryGetValue(ids[0], out var build))
                    return build;
                arrival = _arrival.Task;
            }
            if (await Task.WhenAny(arrival, deadline) == deadline)
                throw new RpcException(StatusCode.Unknown, $"no such job {ids[0]}");
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
