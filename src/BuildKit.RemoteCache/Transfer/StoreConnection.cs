using System.Net;
using System.Net.Sockets;
using BuildKit.Registry.Transfer;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>
/// Requests to a store over HTTP/1.1: signed, repeated when that may help, ended when nothing moves. Safe for concurrent use.
/// </summary>
/// <param name="http">Connections; shared with others and not disposed.</param>
/// <param name="protocol">How the store is spoken to.</param>
/// <param name="policy">How patient to be.</param>
/// <param name="time">Clock of waits and limits.</param>
public sealed class StoreConnection(HttpMessageInvoker http, IStoreProtocol protocol, TransferPolicy policy, TimeProvider time)
{
    private const int LargestError = 64 * 1024;

    // Smaller bodies are sent at once: waiting for the answer to the headers would cost more than it saves.
    private const long ContinueAbove = 1 << 20;

    /// <summary>How patient this client is.</summary>
    public TransferPolicy Policy => policy;

    /// <summary>Clock of waits and limits.</summary>
    public TimeProvider Time => time;

    /// <summary>Makes connections as stores need them: no redirects, no decompression, proxy from the environment.</summary>
    public static HttpMessageInvoker CreateInvoker() => new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        UseCookies = false,
        ConnectTimeout = TimeSpan.FromSeconds(30),
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(60),
        PooledConnectionLifetime = TimeSpan.FromMinutes(10),
    });

    /// <summary>Sends a request until it is answered with success (2xx). The caller disposes the answer.</summary>
    /// <exception cref="TransferException">The store refused, or no answer came.</exception>
    public Task<StoreAnswer> SendAsync(StoreRequest request, CancellationToken cancellationToken) =>
        NamedAsync(request, token => SendOnceAsync(request, token), cancellationToken);

    /// <summary>As <see cref="SendAsync"/>, for answers of which only success counts.</summary>
    public async Task RunAsync(StoreRequest request, CancellationToken cancellationToken) =>
        (await SendAsync(request, cancellationToken).ConfigureAwait(false)).Dispose();

    /// <summary>As <see cref="SendAsync"/>, reading the whole answer inside the attempt: one that breaks off is repeated.</summary>
    /// <param name="request">The request.</param>
    /// <param name="read">Makes something of the answer's bytes; may throw a transient error to have it repeated.</param>
    /// <param name="cancellationToken">Ends the request.</param>
    public Task<T> ReadAsync<T>(StoreRequest request, Func<HttpResponseMessage, byte[], T> read, CancellationToken cancellationToken) =>
        NamedAsync(request, async token =>
        {
            using var answer = await SendOnceAsync(request, token).ConfigureAwait(false);
            using var bytes = new MemoryStream();
            var buffer = new byte[32 * 1024];
            for (int count; (count = await answer.Body.ReadAsync(buffer, token).ConfigureAwait(false)) > 0;)
                bytes.Write(buffer, 0, count);
            return read(answer.Response, bytes.ToArray());
        }, cancellationToken);

    private async Task<T> NamedAsync<T>(StoreRequest request, Func<CancellationToken, Task<T>> attempt, CancellationToken cancellationToken)
    {
        try
        {
            return await policy.RunAsync(ToldAsync, time, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (request.Operation.Length > 0)
        {
            throw e.WithMessage($"{request.Operation}, {e.Message}");
        }

        async Task<T> ToldAsync(CancellationToken token)
        {
            try
            {
                return await attempt(token).ConfigureAwait(false);
            }
            catch (TransferException e)
            {
                request.OnFailure?.Invoke(e);
                throw;
            }
        }
    }

    private async Task<StoreAnswer> SendOnceAsync(StoreRequest request, CancellationToken cancellationToken)
    {
        var limit = new SilenceLimit(request.Silence ?? policy.Silence, time, cancellationToken);
        HttpResponseMessage? response = null;
        try
        {
            using var message = await MessageAsync(request, limit).ConfigureAwait(false);
            response = await http.SendAsync(message, limit.Token).ConfigureAwait(false);
            limit.Restart();
            var body = await response.Content.ReadAsStreamAsync(limit.Token).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
                return new StoreAnswer(response, new StoreAnswerStream(body, request, protocol, limit), limit);
            var error = new byte[LargestError];
            var length = await body.ReadAtLeastAsync(error, error.Length, throwOnEndOfStream: false, limit.Token).ConfigureAwait(false);
            var failure = protocol.Explain(request, response, error.AsSpan(0, length));
            if (!failure.IsTransient && await protocol.RenewAsync(message, failure, cancellationToken).ConfigureAwait(false))
                throw failure.AsTransient();
            throw RetryAfter(response) is { } wait
                ? new TransferException(failure.Message) { Status = failure.Status, Code = failure.Code, IsTransient = failure.IsTransient, RetryAfter = wait }
                : failure;
        }
        catch (Exception e)
        {
            var failure = Translate(e, request, limit, cancellationToken);
            response?.Dispose();
            limit.Dispose();
            if (failure == e)
                throw;
            throw failure;
        }
    }

    private async Task<HttpRequestMessage> MessageAsync(StoreRequest request, SilenceLimit limit)
    {
        // The path goes out as it is written: signatures cover it.
        var uri = new Uri(request.Url, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });
        var message = new HttpRequestMessage(request.Method, uri) { Version = HttpVersion.Version11, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
        if (request.Body is { } body)
        {
            message.Content = new StoreContent(body, limit);
            if (body.Size > ContinueAbove)
                message.Headers.ExpectContinue = true;
        }
        else if (request.Method == HttpMethod.Put || request.Method == HttpMethod.Post)
        {
            message.Content = new ByteArrayContent([]);
        }
        foreach (var (name, value) in request.Headers)
        {
            if (!message.Headers.TryAddWithoutValidation(name, value))
                message.Content!.Headers.TryAddWithoutValidation(name, value);
        }
        await protocol.SignAsync(request, message, limit.Token).ConfigureAwait(false);
        return message;
    }

    private Exception Translate(Exception error, StoreRequest request, SilenceLimit limit, CancellationToken cancellationToken)
    {
        for (Exception? e = error; e is not null; e = e.InnerException)
        {
            if (e is BodySourceException source)
                return source.InnerException!;
        }
        if (cancellationToken.IsCancellationRequested || error is TransferException)
            return error;
        if (limit.IsOver)
            return protocol.Unreachable(request, limit.Reason, error);
        return error is HttpRequestException or IOException or OperationCanceledException
            ? protocol.Unreachable(request, Cause(error), error)
            : error;
    }

    /// <summary>The innermost cause in the words of the ecosystem.</summary>
    internal static string Cause(Exception error)
    {
        for (Exception? e = error; e is not null; e = e.InnerException)
        {
            switch (e)
            {
                case SocketException { SocketErrorCode: SocketError.ConnectionReset }: return "read: connection reset by peer";
                case SocketException { SocketErrorCode: SocketError.Shutdown }: return "write: broken pipe";
                case SocketException { SocketErrorCode: SocketError.ConnectionRefused }: return "connect: connection refused";
                case SocketException { SocketErrorCode: SocketError.HostNotFound or SocketError.NoData }: return "no such host";
                case HttpIOException { HttpRequestError: HttpRequestError.ResponseEnded }: return "unexpected EOF";
                case HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded }: return "unexpected EOF";
            }
        }
        return error.GetBaseException().Message;
    }

    private TimeSpan? RetryAfter(HttpResponseMessage response) => response.Headers.RetryAfter switch
    {
        { Delta: { } delta } => delta,
        { Date: { } date } when date > time.GetUtcNow() => date - time.GetUtcNow(),
        _ => null,
    };
}
