using BuildKit.Oci;
using BuildKit.Registry.Transfer;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>A successful answer whose body is read as it comes; disposing ends it.</summary>
public sealed class StoreAnswer : IDisposable
{
    private readonly SilenceLimit _limit;

    internal StoreAnswer(HttpResponseMessage response, Stream body, SilenceLimit limit)
    {
        (Response, Body, _limit) = (response, body, limit);
        limit.Pause();
    }

    /// <summary>Status and headers.</summary>
    public HttpResponseMessage Response { get; }

    /// <summary>The body. A connection that breaks or falls silent is a transient <see cref="TransferException"/>; it is not verified.</summary>
    public Stream Body { get; }

    /// <summary>A header, or empty.</summary>
    public string Header(string name) =>
        Response.Headers.TryGetValues(name, out var values) || Response.Content.Headers.TryGetValues(name, out values) ? string.Join(",", values) : "";

    /// <summary>The body as a stream that ends this answer when disposed.</summary>
    public Stream OwnedBody() => new OwningStream(this);

    /// <inheritdoc/>
    public void Dispose()
    {
        Body.Dispose();
        Response.Dispose();
        _limit.Dispose();
    }

    private sealed class OwningStream(StoreAnswer answer) : ForwardStream(FileAccess.Read)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => answer.Body.ReadAsync(buffer, cancellationToken);

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                answer.Dispose();
            base.Dispose(disposing);
        }
    }
}

/// <summary>The body of an answer, watched.</summary>
internal sealed class StoreAnswerStream(Stream body, StoreRequest request, IStoreProtocol protocol, SilenceLimit limit) : ForwardStream(FileAccess.Read)
{
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        limit.Restart();
        using var both = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellationToken);
        try
        {
            return await body.ReadAsync(buffer, both.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (limit.IsOver && !cancellationToken.IsCancellationRequested)
        {
            throw protocol.Unreachable(request, limit.Error("timed out").Message, e);
        }
        catch (Exception e) when (e is IOException or HttpRequestException && !cancellationToken.IsCancellationRequested)
        {
            throw protocol.Unreachable(request, StoreConnection.Cause(e), e);
        }
        finally
        {
            if (!limit.IsOver)
                limit.Pause();
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            body.Dispose();
        base.Dispose(disposing);
    }
}
