using System.Net;
using System.Net.Http.Headers;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry.Http;

/// <summary>An answer and the request that got it.</summary>
internal sealed record RegistryAnswer(string Method, string Url, string Host, AuthenticationHeaderValue? Authorization, HttpResponseMessage Response) : IDisposable
{
    public HttpStatusCode Status => Response.StatusCode;

    public IEnumerable<string> Challenges => Header(Response, "WWW-Authenticate");

    public void Dispose() => Response.Dispose();

    public static IEnumerable<string> Header(HttpResponseMessage response, string name) =>
        response.Headers.NonValidated.TryGetValues(name, out var values) ? values
        : response.Content.Headers.NonValidated.TryGetValues(name, out values) ? values
        : [];

    public string Header(string name) => Header(Response, name).FirstOrDefault("");

    public RegistryStatusException Unexpected() => RegistryRequests.Unexpected(Method, Url, Response);
}

/// <summary>One logical request.</summary>
/// <param name="Method">Method.</param>
/// <param name="Url">Full URL.</param>
/// <param name="Scopes">Scopes a token must have.</param>
internal sealed record RegistryRequest(HttpMethod Method, string Url, IReadOnlyList<string> Scopes)
{
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; init; } = [];

    /// <summary>Makes the body, again for every repetition.</summary>
    public Func<HttpContent>? Body { get; init; }

    /// <summary>False after an upload was sent to a foreign host.</summary>
    public bool IsAuthorized { get; init; } = true;
}

/// <summary>
/// Sends logical requests (spec 07 §12.3): authorize, send, follow redirects, take up a challenge, wait where the registry is
/// too busy (408, 429), repeat; at most six requests each.
/// </summary>
internal sealed class RegistryRequests(RegistryEndpoint endpoint, Authorizer authorizer, string userAgent, RegistryRetry retry, TimeSpan silence)
{
    private const int MostRequests = 6;
    private const int MostRedirects = 10;

    // Tokens and error documents come at once or not at all.
    private static readonly TimeSpan SmallBodySilence = TimeSpan.FromSeconds(30);

    /// <summary>The answer, whatever its status; the caller disposes it.</summary>
    public async Task<RegistryAnswer> SendAsync(RegistryRequest request, CancellationToken cancellationToken)
    {
        RegistryAnswer? previous = null;
        var refusals = 0;
        try
        {
            for (var sent = 1; ; sent++)
            {
                var answer = await FollowAsync(request, cancellationToken);
                var repeat = false;
                try
                {
                    if (sent < MostRequests)
                    {
                        switch (answer.Status)
                        {
                            case HttpStatusCode.Unauthorized:
                                repeat = request.IsAuthorized && await authorizer.TakeChallengeAsync(answer, previous, request.Scopes, cancellationToken);
                                break;
                            case HttpStatusCode.MethodNotAllowed when request.Method == HttpMethod.Head && request.Url.Contains("/manifests/", StringComparison.Ordinal):
                                request = request with { Method = HttpMethod.Get };
                                repeat = true;
                                break;
                            case HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests:
                                await retry.PauseAsync(++refusals, RetryAfter(answer.Response, endpoint.Transport.Time), cancellationToken);
                                repeat = true;
                                break;
                        }
                    }
                }
                catch
                {
                    answer.Dispose();
                    throw;
                }
                if (!repeat)
                    return answer;
                previous?.Dispose();
                previous = answer;
            }
        }
        finally
        {
            previous?.Dispose();
        }
    }

    /// <summary>The error for a status nobody expected.</summary>
    public static RegistryStatusException Unexpected(string method, string url, HttpResponseMessage response) =>
        new(method, response.RequestMessage?.RequestUri?.OriginalString ?? url, response.StatusCode, StatusLine(response), retryAfter: RetryAfter(response, TimeProvider.System));

    /// <summary>How long an answer asks to be left alone; null when it does not say.</summary>
    public static TimeSpan? RetryAfter(HttpResponseMessage response, TimeProvider time) => response.Headers.RetryAfter switch
    {
        { Delta: { } delta } => delta,
        { Date: { } date } when date > time.GetUtcNow() => date - time.GetUtcNow(),
        _ => null,
    };

    /// <summary>The body of an answer, watched: a broken or silent connection is a transient <see cref="RegistryTransportException"/>.
    /// Disposing it ends the answer.</summary>
    public async Task<Stream> OpenBodyAsync(RegistryAnswer answer, CancellationToken cancellationToken) =>
        new AnswerStream(await answer.Response.Content.ReadAsStreamAsync(cancellationToken), answer, new SilenceLimit(silence, endpoint.Transport.Time, CancellationToken.None));

    /// <summary>Code and text: <c>401 Unauthorized</c>.</summary>
    public static string StatusLine(HttpResponseMessage response) => $"{(int)response.StatusCode} {response.ReasonPhrase}".TrimEnd();

    /// <summary>Reads a small body.</summary>
    /// <exception cref="RegistryException">It is larger than allowed, or the connection broke.</exception>
    public static async Task<byte[]> ReadBodyAsync(HttpResponseMessage response, int limit, CancellationToken cancellationToken)
    {
        using var silent = new SilenceLimit(SmallBodySilence, TimeProvider.System, cancellationToken);
        await using var body = await response.Content.ReadAsStreamAsync(cancellationToken);
        using var bytes = new MemoryStream();
        var buffer = new byte[16 * 1024];
        while (true)
        {
            int count;
            try
            {
                count = await body.ReadAsync(buffer, silent.Token);
                silent.Restart();
            }
            catch (OperationCanceledException e) when (silent.IsOver && !cancellationToken.IsCancellationRequested)
            {
                throw new RegistryTransportException($"failed to read the answer of {response.RequestMessage?.RequestUri}: {silent.Reason}", isTransient: true, e);
            }
            catch (IOException e)
            {
                throw new RegistryTransportException($"failed to read the answer of {response.RequestMessage?.RequestUri}: unexpected EOF", isTransient: true, e);
            }
            if (count == 0)
                return bytes.ToArray();
            if (bytes.Length + count > limit)
                throw new RegistryException($"the answer of {response.RequestMessage?.RequestUri} is larger than {limit} bytes");
            bytes.Write(buffer, 0, count);
        }
    }

    private async Task<RegistryAnswer> FollowAsync(RegistryRequest request, CancellationToken cancellationToken)
    {
        var (url, method, body) = (request.Url, request.Method, request.Body);
        var origin = new Uri(url);
        AuthenticationHeaderValue? first = null;
        for (var redirects = 0; ; redirects++)
        {
            var target = new Uri(url);
            var host = Authority(target);
            var authorization = request.IsAuthorized ? await authorizer.AuthorizeAsync(host, endpoint.Transport, request.Scopes, cancellationToken) : null;
            if (redirects == 0)
                first = authorization;
            else if (authorization is null && IsSameOrSubdomain(target.IdnHost, origin.IdnHost))
                authorization = first;
            var response = await endpoint.Transport.SendAsync(address => Message(address, method, request, body, authorization), url, cancellationToken, silence);
            var location = RegistryAnswer.Header(response, "Location").FirstOrDefault("");
            var status = (int)response.StatusCode;
            if (status is not (301 or 302 or 303 or 307 or 308) || location.Length == 0)
                return new RegistryAnswer(method.Method, url, host, authorization, response);
            response.Dispose();
            if (redirects == MostRedirects - 1)
                throw new RegistryException($"failed to do request: {method.Method[0]}{method.Method[1..].ToLowerInvariant()} \"{location}\": stopped after {MostRedirects} redirects");
            if (status is 301 or 302 or 303 && method != HttpMethod.Get && method != HttpMethod.Head)
                (method, body) = (HttpMethod.Get, null);
            url = new Uri(target, location).AbsoluteUri;
        }
    }

    private HttpRequestMessage Message(string url, HttpMethod method, RegistryRequest request, Func<HttpContent>? body, AuthenticationHeaderValue? authorization)
    {
        var message = new HttpRequestMessage(method, new Uri(url)) { Content = body?.Invoke() };
        message.Headers.TryAddWithoutValidation("User-Agent", userAgent);
        foreach (var (name, value) in request.Headers)
        {
            if (!message.Headers.TryAddWithoutValidation(name, value))
                message.Content?.Headers.TryAddWithoutValidation(name, value);
        }
        message.Headers.Authorization = authorization;
        if (message.Content is null && method == HttpMethod.Post)
            message.Content = new ByteArrayContent([]);
        return message;
    }

    internal static string Authority(Uri uri) => uri.Authority;

    private static bool IsSameOrSubdomain(string host, string parent) =>
        host == parent || host.EndsWith("." + parent, StringComparison.OrdinalIgnoreCase);
}
