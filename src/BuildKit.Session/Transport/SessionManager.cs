using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;

namespace BuildKit.Session.Transport;

/// <summary>
/// The daemon's sessions by ID (spec 01 §5.2). A build may name a session before it has arrived, so looking
/// one up waits for it. All members may be called concurrently.
/// </summary>
/// <param name="time">Clock of waits and health checks; null is the system's.</param>
public sealed class SessionManager(TimeProvider? time = null)
{
    /// <summary>How long sources, exporters and groups wait for a session.</summary>
    public static readonly TimeSpan DefaultWait = TimeSpan.FromSeconds(5);

    // Go callees refuse messages of 4 MiB and more.
    private const int MaxMessageToClient = (4 << 20) - 1;

    private readonly TimeProvider _time = time ?? TimeProvider.System;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, SessionCaller> _sessions = new(StringComparer.Ordinal);
    private TaskCompletionSource _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The handler of <c>Control/Session</c>: registers the session and returns when it is over.</summary>
    /// <exception cref="RpcException">The request names no session.</exception>
    public async Task HandleAsync(ServerStream<BytesMessage, BytesMessage> stream)
    {
        if (stream.RequestHeaders.Get(SessionMetadata.Id) is not { Length: > 0 } id)
            throw new RpcException(StatusCode.InvalidArgument, $"request lacks metadata \"{SessionMetadata.Id}\"");
        await using var tunnel = new TunnelStream(stream.ReadAsync, stream.SendAsync);
        await using var connection = Http2Connection.Start(
            tunnel, new Http2ConnectionOptions { MaxSendMessageSize = MaxMessageToClient, Time = _time });
        var caller = new SessionCaller(
            id,
            stream.RequestHeaders.Get(SessionMetadata.SharedKey) ?? "",
            stream.RequestHeaders.GetAll(SessionMetadata.Method),
            connection);
        Add(caller);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(stream.CancellationToken);
        var health = caller.WatchHealthAsync(_time, ended.Token);
        try
        {
            await Task.WhenAny(caller.Closed, health).WaitAsync(stream.CancellationToken);
        }
        catch (OperationCanceledException)
        {
            // The client is gone: the session ends like any other.
        }
        finally
        {
            Remove(caller);
            await ended.CancelAsync();
            await health.ContinueWith(
                static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    /// <summary>The session with an ID, waiting for it to arrive. Of <c>prefix:id</c> only the ID counts.</summary>
    /// <exception cref="RpcException">DeadlineExceeded: it did not arrive in time.</exception>
    public async Task<SessionCaller> GetAsync(string id, TimeSpan wait, CancellationToken cancellationToken)
    {
        id = WithoutPrefix(id);
        var deadline = Task.Delay(wait, _time, cancellationToken);
        while (true)
        {
            Task arrival;
            lock (_gate)
            {
                if (_sessions.TryGetValue(id, out var caller) && !caller.Closed.IsCompleted)
                    return caller;
                arrival = _arrival.Task;
            }

            if (await Task.WhenAny(arrival, deadline) != deadline)
                continue;
            cancellationToken.ThrowIfCancellationRequested();
            throw new RpcException(
                StatusCode.DeadlineExceeded, $"no active session for {id}: context deadline exceeded");
        }
    }

    /// <summary>The session with an ID if it is there now.</summary>
    public SessionCaller? Find(string id)
    {
        lock (_gate)
            return _sessions.GetValueOrDefault(WithoutPrefix(id));
    }

    /// <summary>
    /// Tries the sessions of a group in order, waiting up to 5 s for each, until a call succeeds; the last
    /// failure is thrown. This keeps a build alive that another client of the group started.
    /// </summary>
    /// <param name="group">Session IDs of all builds that wait for the same work.</param>
    /// <param name="call">What to do with a session.</param>
    /// <param name="cancellationToken">Ends the wait and the call.</param>
    public async Task<T> AnyAsync<T>(
        IEnumerable<string> group, Func<SessionCaller, CancellationToken, Task<T>> call, CancellationToken cancellationToken)
    {
        Exception? last = null;
        foreach (var id in group)
        {
            try
            {
                return await call(await GetAsync(id, DefaultWait, cancellationToken), cancellationToken);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                last = e;
            }
        }

        if (last is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(last);
        throw new RpcException(StatusCode.Unknown, "no active sessions");
    }

    private static string WithoutPrefix(string id)
    {
        var colon = id.IndexOf(':', StringComparison.Ordinal);
        return colon >= 0 && colon + 1 < id.Length ? id[(colon + 1)..] : id;
    }

    private void Add(SessionCaller caller)
    {
        TaskCompletionSource arrival;
        lock (_gate)
        {
            _sessions[caller.Id] = caller;
            arrival = _arrival;
            _arrival = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        arrival.TrySetResult();
    }

    private void Remove(SessionCaller caller)
    {
        lock (_gate)
            if (_sessions.GetValueOrDefault(caller.Id) == caller)
                _sessions.Remove(caller.Id);
    }
}
