using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Authentication;
using BuildKit.Oci;
using BuildKit.Registry.Hosts;

namespace BuildKit.Registry.Http;

/// <summary>
/// The connections to one host (spec 07 §12.2): HTTP/1.1, proxy from the environment, no automatic redirects, and where
/// configured a fall back from HTTPS to HTTP that is remembered per host.
/// </summary>
internal sealed class RegistryTransport : IDisposable
{
    private static readonly TimeSpan DialTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

    private readonly HttpMessageInvoker _invoker;
    private readonly bool _fallsBackToHttp;
    private readonly ConcurrentDictionary<string, bool> _plainHosts = new(StringComparer.Ordinal);

    public RegistryTransport(RegistryHostConfig config, bool fallsBackToHttp)
    {
        _fallsBackToHttp = fallsBackToHttp;
        _invoker = new HttpMessageInvoker(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            ConnectCallback = ConnectAsync,
            ConnectTimeout = DialTimeout + HandshakeTimeout,
            KeepAlivePingDelay = Timeout.InfiniteTimeSpan,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(120),
            SslOptions = TlsSettings.Create(config),
        });
    }

    /// <summary>Sends one request and returns when the headers of the answer are there.</summary>
    /// <param name="create">Makes the request for a URL; called again when the scheme changes.</param>
    /// <param name="url">Where to.</param>
    /// <param name="cancellationToken">Ends the request.</param>
    /// <exception cref="RegistryTransportException">No answer came.</exception>
    public async Task<HttpResponseMessage> SendAsync(Func<string, HttpRequestMessage> create, string url, CancellationToken cancellationToken)
    {
        var uri = new Uri(url);
        if (_fallsBackToHttp && uri.Scheme == "https")
        {
            if (_plainHosts.ContainsKey(uri.Authority))
                return await SendOnceAsync(create, Plain(url), cancellationToken);
            try
            {
                return await SendOnceAsync(create, url, cancellationToken);
            }
            catch (RegistryTransportException e) when (SpeaksPlainHttp(e, uri))
            {
                var response = await SendOnceAsync(create, Plain(url), cancellationToken);
                _plainHosts[uri.Authority] = true;
                return response;
            }
        }
        return await SendOnceAsync(create, url, cancellationToken);
    }

    public void Dispose() => _invoker.Dispose();

    private static string Plain(string url) => "http" + url["https".Length..];

    private async Task<HttpResponseMessage> SendOnceAsync(Func<string, HttpRequestMessage> create, string url, CancellationToken cancellationToken)
    {
        var request = create(url);
        request.Version = HttpVersion.Version11;
        request.VersionPolicy = HttpVersionPolicy.RequestVersionExact;
        try
        {
            return await _invoker.SendAsync(request, cancellationToken);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested && e is HttpRequestException or OperationCanceledException or IOException)
        {
            var (cause, transient) = Explain(e);
            var method = request.Method.Method;
            throw new RegistryTransportException(
                $"failed to do request: {method[0]}{method[1..].ToLowerInvariant()} {GoSyntax.Quote(url)}: {cause}", transient, e);
        }
    }

    private static bool SpeaksPlainHttp(RegistryTransportException error, Uri uri)
    {
        var hasPort = !uri.IsDefaultPort || uri.OriginalString.Contains(uri.Authority + ":", StringComparison.Ordinal);
        for (var e = error.InnerException; e is not null; e = e.InnerException)
        {
            if (e is NoTlsRecordException { IsHttp: true })
                return true;
            if (e is DialException dial)
                return !hasPort && (dial.IsRefused || dial.IsTimeout);
            if (e is TimeoutException)
                return true; // The dial has its own exception, so this was the handshake.
        }
        return false;
    }

    /// <summary>The innermost known cause in the words of the ecosystem, and whether it may pass.</summary>
    private static (string Cause, bool IsTransient) Explain(Exception error)
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

    private static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
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

    private sealed class DialException(string message, bool isRefused, bool isTimeout, Exception? inner) : IOException(message, inner)
    {
        public bool IsRefused => isRefused;
        public bool IsTimeout => isTimeout;
    }
}
