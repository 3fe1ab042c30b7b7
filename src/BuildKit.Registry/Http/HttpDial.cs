using System.Net;
using System.Net.Http;
using System.Net.Sockets;
using System.Security.Authentication;

namespace BuildKit.Registry.Http;

/// <summary>Connections of HTTP clients, and why there are none, in the words other tools print and match.</summary>
public static class HttpDial
{
    private static readonly TimeSpan DialTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

    /// <summary>How long connecting and shaking hands may take.</summary>
    public static TimeSpan ConnectTimeout => DialTimeout + HandshakeTimeout;

    /// <summary>The innermost known cause in the words of the ecosystem, and whether it may pass.</summary>
    public static (string Cause, bool IsTransient) Explain(Exception error)
    {
        for (Exception? e = error; e is not null; e = e.InnerException)
        {
            switch (e)
            {
                case DialException dial: return (dial.Message, dial.IsTimeout);
                case NoTlsRecordException noTls: return (noTls.Message, false);
                case RegistryException registry: return (registry.Message, registry.IsTransient);
                case AuthenticationException { InnerException: null } authentication: return (authentication.Message, false);
                case SocketException { SocketErrorCode: SocketError.ConnectionReset }: return ("read: connection reset by peer", true);
                case SocketException { SocketErrorCode: SocketError.Shutdown }: return ("write: broken pipe", true);
                case HttpIOException { HttpRequestError: HttpRequestError.ResponseEnded }: return ("EOF", true);
                case HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded }: return ("EOF", true);
                case TimeoutException: return ("net/http: TLS handshake timeout", true);
            }
        }
        return (error.GetBaseException().Message, error.GetBaseException() is SocketException or IOException);
    }

    /// <summary>Connects for a <see cref="SocketsHttpHandler"/>.</summary>
    public static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        var target = context.DnsEndPoint;
        var socket = await DialAsync(target, cancellationToken);
        var stream = new NetworkStream(socket, ownsSocket: true);
        var uri = context.InitialRequestMessage.RequestUri!;
        // Behind a proxy the first bytes are the proxy's answer in plain HTTP.
        var isDirect = uri.IdnHost.Trim('[', ']') == target.Host.Trim('[', ']') && uri.Port == target.Port;
        return uri.Scheme == "https" && isDirect ? new FirstBytesStream(stream) : stream;
    }

    private static async Task<Socket> DialAsync(DnsEndPoint target, CancellationToken cancellationToken)
    {
        IPAddress[] addresses;
        try
        {
            addresses = IPAddress.TryParse(target.Host, out var literal) ? [literal] : await Dns.GetHostAddressesAsync(target.Host, cancellationToken);
        }
        catch (SocketException e)
        {
            var reason = e.SocketErrorCode is SocketError.HostNotFound or SocketError.NoData ? "no such host" : e.Message;
            throw new DialException($"dial tcp: lookup {target.Host}: {reason}", isRefused: false, isTimeout: e.SocketErrorCode == SocketError.TryAgain, e);
        }
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(DialTimeout);
        DialException? failure = null;
        foreach (var address in addresses)
        {
            var endpoint = new IPEndPoint(address, target.Port);
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
                socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, 60);
                await socket.ConnectAsync(endpoint, limit.Token);
                return socket;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                failure ??= e.SocketErrorCode switch
                {
                    SocketError.ConnectionRefused => new DialException($"dial tcp {endpoint}: connect: connection refused", isRefused: true, isTimeout: false, e),
                    SocketError.TimedOut => new DialException($"dial tcp {endpoint}: connect: connection timed out", isRefused: false, isTimeout: true, e),
                    SocketError.NetworkUnreachable => new DialException($"dial tcp {endpoint}: connect: network is unreachable", isRefused: false, isTimeout: false, e),
                    SocketError.HostUnreachable => new DialException($"dial tcp {endpoint}: connect: no route to host", isRefused: false, isTimeout: false, e),
                    _ => new DialException($"dial tcp {endpoint}: {e.Message}", isRefused: false, isTimeout: false, e),
                };
            }
            catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
            {
                socket.Dispose();
                throw new DialException($"dial tcp {endpoint}: i/o timeout", isRefused: false, isTimeout: true, e);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        throw failure ?? new DialException($"dial tcp: lookup {target.Host}: no such host", isRefused: false, isTimeout: false, null);
    }
}

/// <summary>No connection came about; the text says which address and why.</summary>
internal sealed class DialException(string message, bool isRefused, bool isTimeout, Exception? inner) : IOException(message, inner)
{
    public bool IsRefused => isRefused;
    public bool IsTimeout => isTimeout;
}
