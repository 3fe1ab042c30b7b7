using System.IO.Pipelines;
using System.Net;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;

namespace BuildKit.Protocol.Server;

/// <summary>A duplex stream as a Kestrel connection.</summary>
internal sealed class StreamConnection : ConnectionContext
{
    private readonly Stream _stream;
    private readonly CancellationTokenSource _closed = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _disposed;

    public StreamConnection(Stream stream)
    {
        _stream = stream;
        Transport = new StreamDuplexPipe(stream);
        ConnectionClosed = _closed.Token;
    }

    /// <summary>Completes when the server is done with the connection.</summary>
    public Task Ended => _ended.Task;

    public override IDuplexPipe Transport { get; set; }

    public override string ConnectionId { get; set; } = "stream";

    public override IFeatureCollection Features { get; } = new FeatureCollection();

    public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

    public override CancellationToken ConnectionClosed { get; set; }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        Transport.Input.CancelPendingRead();
        _stream.Dispose();
    }

    public override async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        try
        {
            await Transport.Input.CompleteAsync();
            await Transport.Output.CompleteAsync();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException
            or InvalidOperationException)
        {
            // What could not be flushed has no reader any more.
        }
        finally
        {
            await _stream.DisposeAsync();
            await _closed.CancelAsync();
            _ended.TrySetResult();
        }
    }
}

/// <summary>"Listens" for exactly one connection, which is there from the start.</summary>
internal sealed class StreamListenerFactory(StreamConnection connection) : IConnectionListenerFactory
{
    public static EndPoint Address { get; } = new StreamEndPoint();

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<IConnectionListener>(new Listener(endpoint, connection));

    private sealed class StreamEndPoint : EndPoint
    {
        public override string ToString() => "stream";
    }

    private sealed class Listener : IConnectionListener
    {
        private readonly Channel<ConnectionContext> _connections = Channel.CreateUnbounded<ConnectionContext>();

        public Listener(EndPoint endPoint, ConnectionContext connection)
        {
            EndPoint = endPoint;
            _connections.Writer.TryWrite(connection);
        }

        public EndPoint EndPoint { get; }

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (await _connections.Reader.WaitToReadAsync(cancellationToken))
                if (_connections.Reader.TryRead(out var next))
                    return next;
            return null;
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            _connections.Writer.TryComplete();
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync() => UnbindAsync(CancellationToken.None);
    }
}
