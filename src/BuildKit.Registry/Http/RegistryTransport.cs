using System.Collections.Concurrent;
using System.Net;
using BuildKit.Oci;
using BuildKit.Registry.Hosts;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry.Http;

/// <summary>
/// The connections to one host (spec 07 §12.2): HTTP/1.1, proxy from the environment, no automatic redirects, and where
/// configured a fall back from HTTPS to HTTP that is remembered per host.
/// </summary>
internal sealed class RegistryTransport : IDisposable
{
    private readonly HttpMessageInvoker _invoker;
    private readonly bool _fallsBackToHttp;
    private readonly ConcurrentDictionary<string, bool> _plainHosts = new(StringComparer.Ordinal);

    /// <summary>Connections for a host.</summary>
    /// <param name="config">What is configured for it.</param>
    /// <param name="fallsBackToHttp">Whether it may turn out to speak plain HTTP.</param>
    /// <param name="silence">How long it may be silent where a request does not say.</param>
    /// <param name="time">Clock of the limits.</param>
    public RegistryTransport(RegistryHostConfig config, bool fallsBackToHttp, TimeSpan silence, TimeProvider time)
    {
        (_fallsBackToHttp, Silence, Time) = (fallsBackToHttp, silence, time);
        _invoker = new HttpMessageInvoker(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            ConnectCallback = HttpDial.ConnectAsync,
            ConnectTimeout = HttpDial.ConnectTimeout,
            KeepAlivePingDelay = Timeout.InfiniteTimeSpan,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(120),
            SslOptions = TlsSettings.Create(config),
        });
    }

    /// <summary>How long the host may be silent where a request does not say.</summary>
    public TimeSpan Silence { get; }

    /// <summary>Clock of the limits.</summary>
    public TimeProvider Time { get; }

    /// <summary>Sends one request and returns when the headers of the answer are there.</summary>
    /// <param name="create">Makes the request for a URL; called again when the scheme changes.</param>
    /// <param name="url">Where to.</param>
    /// <param name="cancellationToken">Ends the request.</param>
    /// <param name="silence">How long nothing may move before the request is given up; null for <see cref="Silence"/>.</param>
    /// <exception cref="RegistryTransportException">No answer came.</exception>
    public async Task<HttpResponseMessage> SendAsync(Func<string, HttpRequestMessage> create, string url, CancellationToken cancellationToken, TimeSpan? silence = null)
    {
        var uri = new Uri(url);
        if (_fallsBackToHttp && uri.Scheme == "https")
        {
            if (_plainHosts.ContainsKey(uri.Authority))
                return await SendOnceAsync(create, Plain(url), silence, cancellationToken);
            try
            {
                return await SendOnceAsync(create, url, silence, cancellationToken);
            }
            catch (RegistryTransportException e) when (SpeaksPlainHttp(e, uri))
            {
                var response = await SendOnceAsync(create, Plain(url), silence, cancellationToken);
                _plainHosts[uri.Authority] = true;
                return response;
            }
        }
        return await SendOnceAsync(create, url, silence, cancellationToken);
    }

    public void Dispose() => _invoker.Dispose();

    private static string Plain(string url) => "http" + url["https".Length..];

    private async Task<HttpResponseMessage> SendOnceAsync(Func<string, HttpRequestMessage> create, string url, TimeSpan? silence, CancellationToken cancellationToken)
    {
        var request = create(url);
        request.Version = HttpVersion.Version11;
        request.VersionPolicy = HttpVersionPolicy.RequestVersionExact;
        using var limit = new SilenceLimit(silence ?? Silence, Time, cancellationToken);
        if (request.Content is { } content)
            request.Content = new WatchedContent(content, limit);
        try
        {
            return await _invoker.SendAsync(request, limit.Token);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested && e is HttpRequestException or OperationCanceledException or IOException)
        {
            var (cause, transient) = limit.IsOver ? (limit.Reason, true) : HttpDial.Explain(e);
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
}
