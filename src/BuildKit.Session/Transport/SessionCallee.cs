using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Server;
using BuildKit.Protocol.Services;

namespace BuildKit.Session.Transport;

/// <summary>
/// The client's end of a session: opens <c>Control/Session</c> and serves the daemon's calls that come back
/// through it. Health is always served. Disposing ends the session.
/// </summary>
public sealed class SessionCallee : IAsyncDisposable
{
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(3);

    private readonly IGrpcCall<BytesMessage, BytesMessage> _call;
    private readonly TunnelStream _tunnel;
    private readonly CancellationTokenSource _stop = new();
    private bool _disposed;

    private SessionCallee(
        string id, IGrpcCall<BytesMessage, BytesMessage> call, IReadOnlyList<GrpcService> services, GrpcServerOptions options)
    {
        Id = id;
        _call = call;
        _tunnel = new TunnelStream(call.ReadAsync, call.SendAsync);
        Completed = GrpcServer.ServeAsync(_tunnel, services, options, _stop.Token);
    }

    /// <summary>The session's ID, to be named in Solve requests.</summary>
    public string Id { get; }

    /// <summary>Completes when the session is over, whoever ended it.</summary>
    public Task Completed { get; }

    /// <summary>Opens a session.</summary>
    /// <param name="channel">The connection to the daemon; stays the caller's.</param>
    /// <param name="id">A new ID, see <see cref="SessionId.New"/>.</param>
    /// <param name="sharedKey">The shared key; may be empty.</param>
    /// <param name="services">What the daemon may call, besides health.</param>
    /// <param name="options">Limits, error mapping and logging of the serving side.</param>
    /// <param name="cancellationToken">Breaks the session off when it fires.</param>
    public static SessionCallee Start(
        IGrpcChannel channel,
        string id,
        string sharedKey,
        IEnumerable<GrpcService> services,
        GrpcServerOptions? options,
        CancellationToken cancellationToken)
    {
        GrpcService[] all = [.. services, HealthService.Create()];
        var headers = new Metadata { { SessionMetadata.Id, id }, { SessionMetadata.SharedKey, sharedKey } };
        foreach (var service in all)
            foreach (var method in service.Handlers.Keys)
                headers.Add(SessionMetadata.Method, method);
        var call = channel.Open(ControlMethods.Session, new CallOptions(headers), cancellationToken);
        return new(id, call, all, options ?? new GrpcServerOptions());
    }

    /// <summary>Stops serving, half-closes the stream and waits briefly for the daemon to end it with OK.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await _stop.CancelAsync();
        await Completed;
        using var patience = new CancellationTokenSource(EndPatience);
        try
        {
            await _call.CompleteAsync(patience.Token);
            while (await _call.ReadAsync(patience.Token) is not null)
            {
            }
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            // The session is over either way; its calls have reported what failed.
        }

        await _call.DisposeAsync();
        _stop.Dispose();
    }
}
