using System.IO.Pipelines;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Http2;

/// <summary>
/// The state of one call. Fields are guarded by the connection's gate, except what the reading side of the
/// call owns (the pipe's reader and the credit counters).
/// </summary>
internal sealed class Http2Stream
{
    private static readonly PipeOptions Unbounded = new(
        pauseWriterThreshold: 0,
        resumeWriterThreshold: 0,
        minimumSegmentSize: 16 << 10,
        useSynchronizationContext: false);

    private readonly Pipe _received = new(Unbounded);
    private readonly TaskCompletionSource<Metadata> _responseHeaders =
        new(TaskCreationOptions.RunContinuationsAsynchronously);

    private TaskCompletionSource? _retry;

    /// <summary>The stream identifier, 0 before the call is on the wire.</summary>
    public int Id { get; set; }

    /// <summary>The request header fields, encoded when the call goes on the wire.</summary>
    public required IReadOnlyList<HeaderField> RequestHeaders { get; init; }

    /// <summary>Bytes we may still send.</summary>
    public long SendWindow { get; set; }

    /// <summary>Bytes the peer may still send.</summary>
    public long ReceiveWindow { get; set; }

    /// <summary>Consumed bytes the peer has not been told of.</summary>
    public long PendingCredit { get; set; }

    /// <summary>We have half-closed.</summary>
    public bool LocalEnded { get; set; }

    /// <summary>The call is over; <see cref="Error"/> and <see cref="Trailers"/> are final.</summary>
    public bool Ended { get; private set; }

    /// <summary>Why the call failed; null while it runs and after success. An
    /// <see cref="OperationCanceledException"/> when our own side cancelled.</summary>
    public Exception? Error { get; private set; }

    /// <summary>Trailer fields.</summary>
    public Metadata Trailers { get; private set; } = new();

    /// <summary>Whether the header block that precedes messages has come.</summary>
    public bool HeadersSeen { get; private set; }

    /// <summary>Whether compressed messages are gzip (<c>grpc-encoding</c>).</summary>
    public string Encoding { get; private set; } = "";

    public Task<Metadata> ResponseHeaders => _responseHeaders.Task;

    public PipeReader Received => _received.Reader;

    /// <summary>Awaits the next change that may let a sender go on. Called under the gate.</summary>
    public Task Retry()
    {
        _retry ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
        return _retry.Task;
    }

    /// <summary>Wakes the sender. Called under the gate.</summary>
    public void Wake()
    {
        var retry = _retry;
        _retry = null;
        retry?.TrySetResult();
    }

    public void OnHeaders(Metadata headers)
    {
        HeadersSeen = true;
        Encoding = headers.Get("grpc-encoding") ?? "";
        _responseHeaders.TrySetResult(headers);
    }

    /// <summary>Takes received bytes. Called under the gate; readers continue on the thread pool.</summary>
    public void OnData(ReadOnlySpan<byte> bytes)
    {
        if (Ended || bytes.IsEmpty)
            return;
        while (!bytes.IsEmpty)
        {
            var target = _received.Writer.GetSpan();
            var count = Math.Min(target.Length, bytes.Length);
            bytes[..count].CopyTo(target);
            _received.Writer.Advance(count);
            bytes = bytes[count..];
        }

        // The pipe never pauses its writer, so this completes at once.
        _ = _received.Writer.FlushAsync(CancellationToken.None).AsTask();
    }

    /// <summary>Ends the call. Called under the gate, once.</summary>
    public void End(Exception? error, Metadata? trailers)
    {
        if (Ended)
            return;
        Ended = true;
        Error = error;
        if (trailers is not null)
            Trailers = trailers;
        if (error is null || HeadersSeen || trailers is not null)
        {
            _responseHeaders.TrySetResult(new Metadata());
        }
        else
        {
            _responseHeaders.TrySetException(error);
            _ = _responseHeaders.Task.Exception;
        }

        _received.Writer.Complete();
        Wake();
    }
}
