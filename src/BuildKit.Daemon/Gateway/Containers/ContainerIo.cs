using System.IO.Pipelines;
using System.Threading.Channels;
using BuildKit.Worker.Executor;

namespace BuildKit.Daemon.Gateway.Containers;

/// <summary>The near end of a container process' streams. Which of them exist is decided when it starts.</summary>
/// <param name="descriptors">The streams wanted: 0, 1, 2.</param>
internal sealed class ContainerIo(IReadOnlyCollection<uint> descriptors)
{
    /// <summary>What is written here the process reads; null without input.</summary>
    public Pipe? Input { get; } = descriptors.Contains(0u) ? new Pipe() : null;

    /// <summary>Standard output; null when nobody wants it.</summary>
    public ProcessOutput? Output { get; } = descriptors.Contains(1u) ? new ProcessOutput() : null;

    /// <summary>Standard error; null when nobody wants it.</summary>
    public ProcessOutput? Error { get; } = descriptors.Contains(2u) ? new ProcessOutput() : null;

    /// <summary>Signals to send, by number.</summary>
    public Channel<int> Signals { get; } = Channel.CreateUnbounded<int>();

    /// <summary>Sizes the terminal gets.</summary>
    public Channel<TerminalSize> Sizes { get; } = Channel.CreateUnbounded<TerminalSize>();

    /// <summary>The process has ended: readers get the rest and then the end, writers are told nobody reads.</summary>
    public void ProcessEnded()
    {
        Output?.Complete();
        Error?.Complete();
        Input?.Reader.Complete();
        Signals.Writer.TryComplete();
        Sizes.Writer.TryComplete();
    }

    /// <summary>Nobody is at this end any more: the process finds its input at an end, its output goes nowhere.</summary>
    public void Abandon()
    {
        Input?.Writer.Complete();
        Output?.Abandon();
        Error?.Abandon();
        Signals.Writer.TryComplete();
        Sizes.Writer.TryComplete();
    }
}

/// <summary>
/// Output on its way from the thread that reads a process' pipe to whoever sends it on. The thread waits when the reader
/// falls behind, so that a process prints no faster than its output is taken. One writer, one reader.
/// </summary>
internal sealed class ProcessOutput
{
    private const int ChunksAhead = 16;

    private readonly Channel<ReadOnlyMemory<byte>> _chunks = Channel.CreateUnbounded<ReadOnlyMemory<byte>>(
        new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });

    private readonly SemaphoreSlim _room = new(ChunksAhead);
    private volatile bool _isClosed;

    /// <summary>Takes a chunk; blocks the calling thread, which is one made for this, while there is no room.</summary>
    public void Write(ReadOnlyMemory<byte> chunk)
    {
        if (_isClosed)
            return;
        _room.Wait();
        _chunks.Writer.TryWrite(chunk);
    }

    /// <summary>Nothing more comes; a straggler's output is dropped.</summary>
    public void Complete()
    {
        Abandon();
        _chunks.Writer.TryComplete();
    }

    /// <summary>Nobody reads any more; what comes is dropped.</summary>
    public void Abandon()
    {
        _isClosed = true;
        _room.Release(ChunksAhead);
    }

    /// <summary>The next chunk; empty at the end.</summary>
    public async ValueTask<ReadOnlyMemory<byte>> ReadAsync(CancellationToken cancellationToken)
    {
        if (!await _chunks.Reader.WaitToReadAsync(cancellationToken) || !_chunks.Reader.TryRead(out var chunk))
            return default;
        _room.Release();
        return chunk;
    }
}
