using System.Buffers;
using System.Collections.Concurrent;
using System.Threading.Channels;

namespace BuildKit.Session.FileSync;

/// <summary>
/// The sending side of a transfer (spec 01 §5.5): announces every entry, serves content on request, up to four
/// files at a time, and ends when the receiver says that it has everything.
/// </summary>
internal sealed class FileSender(IMessagePipe pipe, IFileTree tree, Action<long, bool>? progress)
{
    private const int ParallelFiles = 4;
    private const int PieceSize = 32 << 10;

    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly ConcurrentDictionary<uint, string> _offered = new();
    private readonly Channel<(uint Id, string Path)> _requested = Channel.CreateUnbounded<(uint, string)>();
    private long _sentBytes;

    /// <summary>Runs the transfer to its end.</summary>
    /// <exception cref="FileSyncException">The receiver failed or broke the protocol.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var group = new TaskGroup(cancellationToken);
        try
        {
            group.Run(SendEntriesAsync);
            for (var i = 0; i < ParallelFiles; i++)
                group.Run(ServeAsync);
            group.Run(ReadAsync);
            await group.WaitAsync();
        }
        finally
        {
            progress?.Invoke(Interlocked.Read(ref _sentBytes), true);
        }
    }

    private async Task SendEntriesAsync(CancellationToken cancellationToken)
    {
        try
        {
            uint id = 0;
            foreach (var stat in tree.Walk(cancellationToken))
            {
                if (stat.IsRegular)
                    _offered[id] = stat.Path;
                id++;
                await SendAsync(FileSyncMessage.ForStat(stat), cancellationToken);
            }
            await SendAsync(FileSyncMessage.ForStat(null), cancellationToken);
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            await SendAsync(FileSyncMessage.ForError(failure.Message), cancellationToken);
            throw;
        }
    }

    private async Task ReadAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                var message = await pipe.ReadAsync(cancellationToken)
                    ?? throw new FileSyncException("the receiver ended the stream before the transfer was complete");
                switch (message.Type)
                {
                    case PacketType.Error:
                        throw new FileSyncException("error from receiver: " + message.Data.ToStringUtf8());
                    case PacketType.Request:
                        if (!_offered.TryRemove(message.Id, out var path))
                            throw new FileSyncException($"invalid file id {message.Id}");
                        _requested.Writer.TryWrite((message.Id, path));
                        break;
                    case PacketType.Fin:
                        await SendAsync(FileSyncMessage.ForFin(), cancellationToken);
                        return;
                }
            }
        }
        finally
        {
            _requested.Writer.Complete();
        }
    }

    private async Task ServeAsync(CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(PieceSize);
        try
        {
            await foreach (var (id, path) in _requested.Reader.ReadAllAsync(cancellationToken))
            {
                await using (var content = tree.Open(path))
                {
                    while (content is not null)
                    {
                        // Blocking on purpose: local files, and the pool's async file reads only hop threads.
                        var length = ReadPiece(content, buffer.AsSpan(0, PieceSize));
                        if (length == 0)
                            break;
                        await SendAsync(FileSyncMessage.ForData(id, buffer.AsMemory(0, length)), cancellationToken);
                    }
                }
                await SendAsync(FileSyncMessage.ForData(id, default), cancellationToken);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static int ReadPiece(Stream content, Span<byte> buffer)
    {
        try
        {
            return content.Read(buffer);
        }
        catch (UnauthorizedAccessException refused)
        {
            throw new FileSyncException("reading a file to send: " + refused.Message, refused);
        }
    }

    private async ValueTask SendAsync(FileSyncMessage message, CancellationToken cancellationToken)
    {
        await _sending.WaitAsync(cancellationToken);
        try
        {
            await pipe.SendAsync(message, cancellationToken);
            if (message.Type is PacketType.Stat or PacketType.Data && progress is not null)
            {
                _sentBytes += message.CalculateSize();
                progress(_sentBytes, false);
            }
        }
        finally
        {
            _sending.Release();
        }
    }
}
