using System.Buffers;
using System.Collections.Concurrent;
using System.Net.Sockets;
using BuildKit.Linux;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Protocol.Ssh;
using Google.Protobuf;

namespace BuildKit.Session.Ssh;

/// <summary>
/// The daemon's end of <c>moby.sshforward.v1.SSH</c>: a unix socket for a build step, each connection of which is piped
/// to the client's agent. Disposing closes the connections and removes the socket.
/// </summary>
public sealed class SshForwarder : IAsyncDisposable
{
    private const int PieceSize = 32 << 10;

    private readonly IGrpcChannel _channel;
    private readonly string _id;
    private readonly Socket _listener;
    private readonly CancellationTokenSource _stop;
    private readonly ConcurrentDictionary<Task, bool> _connections = new();
    private readonly Task _accepting;

    private SshForwarder(IGrpcChannel channel, string id, string socketPath, Socket listener, CancellationToken cancellationToken)
    {
        _channel = channel;
        _id = id;
        SocketPath = socketPath;
        _listener = listener;
        _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _accepting = AcceptAsync();
    }

    /// <summary>Where the socket is.</summary>
    public string SocketPath { get; }

    /// <summary>Asks the client whether it has an agent under an id.</summary>
    /// <exception cref="RpcException">It has not: <c>unset ssh forward key x</c>.</exception>
    public static async Task CheckAsync(IGrpcChannel channel, string id, CancellationToken cancellationToken) =>
        await channel.UnaryAsync(SshMethods.CheckAgent, new CheckAgentRequest { ID = id }, default, cancellationToken);

    /// <summary>Makes the socket and starts to forward.</summary>
    /// <param name="channel">The session.</param>
    /// <param name="id">Which agent of the client.</param>
    /// <param name="directory">An existing directory that the socket <c>ssh_auth_sock</c> is made in.</param>
    /// <param name="uid">Owner of the socket.</param>
    /// <param name="gid">Group of the socket.</param>
    /// <param name="mode">Permissions of the socket.</param>
    /// <param name="cancellationToken">Stops forwarding.</param>
    public static SshForwarder Start(IGrpcChannel channel, string id, string directory, uint uid, uint gid, uint mode, CancellationToken cancellationToken)
    {
        var path = Path.Combine(directory, "ssh_auth_sock");
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            LinuxFile.Lchown(path, uid, gid);
            LinuxFile.Chmod(path, mode);
            listener.Listen();
            return new SshForwarder(channel, id, path, listener, cancellationToken);
        }
        catch
        {
            listener.Dispose();
            File.Delete(path);
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _accepting;
        await Task.WhenAll(_connections.Keys);
        _listener.Dispose();
        File.Delete(SocketPath);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var connection = ForwardAsync(await _listener.AcceptAsync(_stop.Token));
                _connections[connection] = true;
                _ = connection.ContinueWith(done => _connections.TryRemove(done, out _), TaskScheduler.Default);
            }
        }
        catch (Exception stopped) when (stopped is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // Stopped, or the socket is gone: nobody can connect any more.
        }
    }

    // What goes wrong in one connection ends that connection; the step sees its agent hang up.
    private async Task ForwardAsync(Socket socket)
    {
        await Task.Yield();
        using var _ = socket;
        try
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            await using var call = _channel.Open(SshMethods.ForwardAgent, new CallOptions(new Metadata { { "buildkit.ssh.id", _id } }), stop.Token);
            var toClient = SendAsync(socket, call, stop.Token);
            try
            {
                while (await call.ReadAsync(stop.Token) is { } message)
                {
                    for (var rest = message.Data.Memory; rest.Length > 0;)
                        rest = rest[await socket.SendAsync(rest, SocketFlags.None, stop.Token)..];
                }
                socket.Shutdown(SocketShutdown.Send);
            }
            finally
            {
                // The agent has ended: nothing the step may still say has a reader.
                await stop.CancelAsync();
                await toClient;
            }
        }
        catch (Exception ended) when (ended is RpcException or SocketException or OperationCanceledException or IOException)
        {
        }
    }

    private static async Task SendAsync(Socket socket, IGrpcCall<BytesMessage, BytesMessage> call, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(PieceSize);
        try
        {
            while (await socket.ReceiveAsync(buffer.AsMemory(0, PieceSize), SocketFlags.None, cancellationToken) is var length and > 0)
                await call.SendAsync(new BytesMessage { Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, length)) }, cancellationToken);
            await call.CompleteAsync(cancellationToken);
        }
        catch (Exception ended) when (ended is RpcException or SocketException or OperationCanceledException)
        {
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
