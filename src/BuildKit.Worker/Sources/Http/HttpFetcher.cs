using System.Net;
using System.Net.Http.Headers;
using System.Text;
using BuildKit.Protocol.Grpc;
using BuildKit.Registry.Http;
using BuildKit.Session.Upload;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Sources.Http;

/// <summary>Sends the requests of http sources: to servers, following redirects, or to the client's upload service.</summary>
public sealed class HttpFetcher : IDisposable
{
    private const string UserAgent = "buildkit/v0.20";
    private const string UploadHost = "buildkit-session";
    private const int MaxRedirects = 10;

    private readonly IClientSessions _sessions;
    private readonly HttpMessageInvoker _invoker;

    /// <summary>Makes the client; connections are kept and shared by all builds.</summary>
    public HttpFetcher(IClientSessions sessions)
    {
        _sessions = sessions;
        _invoker = new HttpMessageInvoker(new SocketsHttpHandler
        {
            AllowAutoRedirect = false, // done here: the reference follows ones that .NET does not
            AutomaticDecompression = DecompressionMethods.GZip,
            UseCookies = false,
            ConnectCallback = HttpDial.ConnectAsync,
            ConnectTimeout = HttpDial.ConnectTimeout,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(90),
        });
    }

    /// <summary>Closes the connections.</summary>
    public void Dispose() => _invoker.Dispose();

    /// <summary>Whether a URL stands for something the client of the build uploads.</summary>
    internal static bool IsUpload(string url) => Uri.TryCreate(url, UriKind.Absolute, out var uri) && uri.Host == UploadHost;

    /// <summary>Asks for a URL; the answer may have any status.</summary>
    /// <param name="method">GET or HEAD.</param>
    /// <param name="url">The address; user and password in it are sent.</param>
    /// <param name="knownTags">Entity tags for If-None-Match.</param>
    /// <param name="sessionIds">Clients that may have uploaded it.</param>
    /// <param name="cancellationToken">Ends the request.</param>
    /// <exception cref="IOException">No answer came.</exception>
    internal async Task<HttpAnswer> SendAsync(
        HttpMethod method, string url, IReadOnlyCollection<string> knownTags, IEnumerable<string> sessionIds, CancellationToken cancellationToken)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
            throw new InvalidOperationException($"invalid url {GoQuote.Quote(RedactedUrl.Of(url))}");
        if (uri.Host == UploadHost)
            return await OpenUploadAsync(uri, sessionIds, cancellationToken);
        for (var redirects = 0; ; redirects++)
        {
            var response = await SendOnceAsync(method, uri, knownTags, cancellationToken);
            if (!IsRedirect(response, uri, out var target))
                return await AnswerAsync(response, cancellationToken);
            response.Dispose();
            if (redirects + 1 == MaxRedirects)
                throw new IOException($"{Verb(method)} {GoQuote.Quote(RedactedUrl.Of(target.OriginalString))}: stopped after {MaxRedirects} redirects");
            uri = target;
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(HttpMethod method, Uri uri, IReadOnlyCollection<string> knownTags, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(method, uri) { Version = HttpVersion.Version11 };
        request.Headers.TryAddWithoutValidation("User-Agent", UserAgent);
        if (knownTags.Count > 0)
            request.Headers.TryAddWithoutValidation("If-None-Match", string.Join(", ", knownTags));
        if (uri.UserInfo.Length > 0)
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(UserOf(uri))));
        try
        {
            return await _invoker.SendAsync(request, cancellationToken);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && exception is HttpRequestException or IOException or OperationCanceledException)
        {
            throw new IOException($"{Verb(method)} {GoQuote.Quote(RedactedUrl.Of(uri.OriginalString))}: {HttpDial.Explain(exception).Cause}", exception);
        }
    }

    private static string UserOf(Uri uri)
    {
        var parts = uri.UserInfo.Split(':', 2);
        return Uri.UnescapeDataString(parts[0]) + ":" + (parts.Length > 1 ? Uri.UnescapeDataString(parts[1]) : "");
    }

    private static bool IsRedirect(HttpResponseMessage response, Uri from, out Uri target)
    {
        target = from;
        if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308))
            return false;
        var location = Header(response, "Location");
        if (location.Length == 0)
            return false;
        if (!Uri.TryCreate(from, location, out var next) || next.Scheme is not ("http" or "https") || next.Host == UploadHost)
            throw new IOException($"failed to follow redirect of {RedactedUrl.Of(from.OriginalString)} to {GoQuote.Quote(RedactedUrl.Of(location))}");
        target = next;
        return true;
    }

    private static async Task<HttpAnswer> AnswerAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        try
        {
            return new HttpAnswer(
                (int)response.StatusCode, name => Header(response, name), await response.Content.ReadAsStreamAsync(cancellationToken),
                () =>
                {
                    response.Dispose();
                    return ValueTask.CompletedTask;
                });
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    private static string Header(HttpResponseMessage response, string name) =>
        response.Headers.NonValidated.TryGetValues(name, out var values) || response.Content.Headers.NonValidated.TryGetValues(name, out values)
            ? values.FirstOrDefault("")
            : "";

    /// <summary>Each upload is given out once: the first client that has it is the one.</summary>
    private async Task<HttpAnswer> OpenUploadAsync(Uri uri, IEnumerable<string> sessionIds, CancellationToken cancellationToken)
    {
        return await _sessions.AnyAsync(
            sessionIds,
            async session =>
            {
                var stream = UploadClient.Open(session.Channel, uri, cancellationToken);
                try
                {
                    var first = new byte[4096];
                    var length = await stream.ReadAsync(first, cancellationToken);
                    return new HttpAnswer((int)HttpStatusCode.OK, static _ => "", new PrefixedStream(first.AsMemory(0, length), stream), stream.DisposeAsync);
                }
                catch (Exception exception)
                {
                    await stream.DisposeAsync();
                    if (exception is RpcException { Code: StatusCode.Unimplemented })
                        throw new InvalidOperationException($"the client offers no uploads, {uri} cannot be read", exception);
                    throw;
                }
            },
            cancellationToken);
    }

    private static string Verb(HttpMethod method) => method == HttpMethod.Head ? "Head" : "Get";
}
