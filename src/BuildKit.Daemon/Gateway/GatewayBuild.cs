using System.Collections.Concurrent;
using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Gateway.Containers;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Results;

namespace BuildKit.Daemon.Gateway;

/// <summary>
/// A build driven by a frontend outside the daemon: the refs it was given, its containers, and what it returned
/// (spec 01 §6.2). Results live as long as the build; containers as long as this object.
/// </summary>
internal sealed class GatewayBuild(Build build, BuildServices services, CaptureScope scope) : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, LazyResult> _refs = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, IImmutableRef> _failed = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, GatewayContainer> _containers = new(StringComparer.Ordinal);
    private readonly TaskCompletionSource<BuildResult> _returned = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The build.</summary>
    public Build Build { get; } = build;

    /// <summary>Where what the frontend asks for is noted.</summary>
    public CaptureScope Scope { get; } = scope;

    /// <summary>Definitions handed to the frontend by name.</summary>
    public IReadOnlyDictionary<string, Definition> Inputs { get; init; } = new Dictionary<string, Definition>(StringComparer.Ordinal);

    /// <summary>Caches of calls that name none.</summary>
    public IReadOnlyList<CacheImport> Imports { get; init; } = [];

    /// <summary>Source policies of the call that runs the frontend.</summary>
    public IReadOnlyList<Policy> Policies { get; init; } = [];

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

    /// <summary>The result a call reads.</summary>
    /// <exception cref="RpcException"><c>no such ref: X</c>.</exception>
    public LazyResult Find(string id) =>
        _refs.TryGetValue(id, out var result) ? result : throw new RpcException(StatusCode.Unknown, $"no such ref: {id}");

    /// <summary>Takes the frontend's result or error, once.</summary>
    public void Return(ReturnRequest request)
    {
        bool taken;
        if (request.Error is { } error)
            taken = _returned.TrySetException(new RpcException((StatusCode)error.Code, error.Message, [.. error.Details]));
        else if (request.Result is { } result)
            taken = _returned.TrySetResult(GatewayResults.FromMessage(result, FindReturned));
        else
            throw new RpcException(StatusCode.Unknown, "gateway return must be either result or err");
        if (!taken)
            throw new RpcException(StatusCode.Unknown, "gateway result is already set");
    }

    /// <summary>Takes the result of an old frontend, which says with its last request that it is the last.</summary>
    public void Finish(BuildResult result) => _returned.TrySetResult(result);

    /// <summary>Keeps what a failed step left, so that a container can be made of it (spec 01 §6.2 "mountIDs").</summary>
    public void KeepFailed(Exception failure)
    {
        for (Exception? e = failure; e is not null; e = e.InnerException)
        {
            if (e is IResultHolder holder)
            {
                foreach (var result in holder.HeldResults)
                    Keep(result);
            }
            if (e is SlowCacheException slow)
                Keep(slow.Result);
        }

        void Keep(IResult? result)
        {
            if (WorkerResult.RefOf(result) is { } reference)
                _failed[result!.Id] = reference;
        }
    }

    /// <summary>Makes a container; nothing runs in it yet.</summary>
    public async Task AddContainerAsync(NewContainerRequest request, CancellationToken cancellationToken)
    {
        var inputs = new List<IImmutableRef?>();
        foreach (var mount in request.Mounts)
            inputs.Add(await MountedAsync(mount, cancellationToken));
        var container = await GatewayContainer.CreateAsync(services.Exec, Build, request, inputs, cancellationToken);
        if (_containers.TryAdd(request.ContainerID, container))
            return;
        await container.DisposeAsync();
        throw new RpcException(StatusCode.AlreadyExists, $"Container {request.ContainerID} already exists");
    }

    /// <summary>The container with an id.</summary>
    public GatewayContainer FindContainer(string id) => _containers.TryGetValue(id, out var container)
        ? container
        : throw new RpcException(StatusCode.NotFound, $"container \"{id}\" previously released or not created");

    /// <summary>Ends a container and all that runs in it.</summary>
    public async Task ReleaseContainerAsync(string id)
    {
        if (!_containers.TryRemove(id, out var container))
            throw new RpcException(StatusCode.Unknown, $"container details for {id} not found");
        await container.DisposeAsync();
    }

    /// <summary>Ends what still runs.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (var id in _containers.Keys)
        {
            if (_containers.TryRemove(id, out var container))
                await container.DisposeAsync();
        }
    }

    private LazyResult? FindReturned(string id)
    {
        if (id.Length == 0)
            return null;
        return _refs.TryGetValue(id, out var result) ? result : throw new RpcException(StatusCode.Unknown, $"return reference {id} not found");
    }

    private async Task<IImmutableRef?> MountedAsync(Mount mount, CancellationToken cancellationToken)
    {
        if (mount.ResultID.Length == 0)
            return null;
        if (_failed.TryGetValue(mount.ResultID, out var failed))
            return failed;
        if (!_refs.TryGetValue(mount.ResultID, out var result))
            throw new RpcException(StatusCode.Unknown, $"failed to find ref {mount.ResultID} for \"{mount.Dest}\" mount: return reference {mount.ResultID} not found");
        var reference = await result.EvaluateRefAsync(cancellationToken);
        if (reference is not null)
            await reference.ExtractAsync(cancellationToken);
        return reference;
    }
}
