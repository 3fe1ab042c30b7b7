using System.Threading.Channels;
using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Session.FileSync;

/// <summary>
/// The receiving side of a transfer (spec 01 §5.5):
/// 1. reads the entries, checks each, 2. merges them with what is in the destination, which gives deletions, additions
/// and changes, 3. applies those at once, 4. requests the content of each new regular file and writes it as it comes,
/// 5. when all is there, says so and waits for the end.
/// Requests go out through a queue of their own: reading never waits for sending, or both sides could block.
/// </summary>
internal sealed class FileReceiver(IMessagePipe pipe, string destination, ReceiveOptions options)
{
    private static readonly TimeSpan ErrorDeliveryTime = TimeSpan.FromSeconds(2);

    private readonly Channel<FileSyncMessage> _outgoing = Channel.CreateUnbounded<FileSyncMessage>();
    private readonly TaskCompletionSource _allSent = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly EntryValidator _validator = new();
    private readonly Dictionary<uint, IncomingFile> _incoming = [];
    private string? _removedDirectory;
    private uint _nextId;
    private bool _entriesEnded;
    private bool _finSent;
    private long _receivedBytes;

    /// <summary>Runs the transfer to its end. What a failed one wrote stays.</summary>
    /// <exception cref="FileSyncException">The sender failed or broke the protocol.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var group = new TaskGroup(cancellationToken);
        group.Run(SendAsync);
        group.Run(ReceiveAsync);
        await group.WaitAsync();
    }

    private async Task SendAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var message in _outgoing.Reader.ReadAllAsync(cancellationToken))
                await pipe.SendAsync(message, cancellationToken);
        }
        finally
        {
            _allSent.TrySetResult();
        }
    }

    private async Task ReceiveAsync(CancellationToken cancellationToken)
    {
        using var tree = new DestinationTree(destination);
        var writer = new TreeWriter(tree, options);
        using var existing = Existing(cancellationToken).GetEnumerator();
        var existingLeft = existing.MoveNext();
        try
        {
            while (await pipe.ReadAsync(cancellationToken) is { } message)
            {
                if (options.Progress is { } progress)
                {
                    _receivedBytes += message.CalculateSize();
                    progress(_receivedBytes, false);
                }
                switch (message.Type)
                {
                    case PacketType.Error:
                        throw new FileSyncException("error from sender: " + message.Data.ToStringUtf8());
                    case PacketType.Stat when _entriesEnded:
                        throw new FileSyncException("walker is closed");
                    case PacketType.Stat:
                        existingLeft = Merge(message.Stat, existing, existingLeft, writer);
                        _entriesEnded = message.Stat is null;
                        break;
                    case PacketType.Data:
                        TakeContent(message, writer);
                        break;
                    case PacketType.Fin when !_finSent:
                        throw new FileSyncException("the sender ended the transfer before all content was received");
                    case PacketType.Fin:
                        await pipe.FinishAsync(cancellationToken);
                        _outgoing.Writer.Complete();
                        return;
                }
                if (_entriesEnded && _incoming.Count == 0 && !_finSent)
                {
                    writer.RestoreDirectoryTimes();
                    _finSent = true;
                    _outgoing.Writer.TryWrite(FileSyncMessage.ForFin());
                }
            }
            throw new FileSyncException("the sender ended the stream before the transfer was complete");
        }
        catch (Exception failure) when (failure is not RpcException && !cancellationToken.IsCancellationRequested)
        {
            await ReportAsync(failure);
            throw;
        }
        finally
        {
            writer.Abandon();
            options.Progress?.Invoke(_receivedBytes, true);
        }
    }

    private IEnumerable<SyncStat> Existing(CancellationToken cancellationToken) =>
        options.Merge ? [] : new DirectoryTree(destination, readXattrs: false).Walk(cancellationToken);

    // One step of the merge of two ordered lists: everything that exists before the incoming entry is gone.
    private bool Merge(SyncStat? stat, IEnumerator<SyncStat> existing, bool existingLeft, TreeWriter writer)
    {
        var id = _nextId;
        if (stat is not null)
        {
            _nextId++;
            _validator.Check(stat);
        }
        while (existingLeft)
        {
            var order = stat is null ? -1 : PathOrder.Compare(existing.Current.Path, stat.Path);
            if (order > 0)
                break;
            var old = existing.Current;
            if (order == 0)
            {
                _removedDirectory = old.IsDirectory && !stat!.IsDirectory ? old.Path + "/" : null;
                var mapped = options.Map?.Invoke(stat!) ?? stat!;
                if (options.IgnoresExisting || !IsSame(old, mapped))
                    Apply(ChangeKind.Modify, stat!, mapped, id, writer);
                return existing.MoveNext();
            }
            if (_removedDirectory is null || !old.Path.StartsWith(_removedDirectory, StringComparison.Ordinal))
            {
                _removedDirectory = old.IsDirectory ? old.Path + "/" : null;
                writer.Delete(old.Path);
            }
            existingLeft = existing.MoveNext();
        }
        if (stat is null)
            return false;
        _removedDirectory = null;
        Apply(ChangeKind.Add, stat, options.Map?.Invoke(stat) ?? stat, id, writer);
        return existingLeft;
    }

    private void Apply(ChangeKind kind, SyncStat stat, SyncStat mapped, uint id, TreeWriter writer)
    {
        if (writer.Apply(kind, stat, mapped, id) is not { } file)
            return;
        _incoming.Add(id, file);
        _outgoing.Writer.TryWrite(FileSyncMessage.ForRequest(id));
    }

    private void TakeContent(FileSyncMessage message, TreeWriter writer)
    {
        if (!_incoming.TryGetValue(message.Id, out var file))
            throw new FileSyncException($"invalid file request {message.Id}");
        if (!message.Data.IsEmpty)
        {
            writer.Write(file, message.Data.Span);
            return;
        }
        _incoming.Remove(message.Id);
        writer.Complete(file);
    }

    private static bool IsSame(SyncStat old, SyncStat incoming) =>
        (old.IsDirectory || (old.Size == incoming.Size && old.ModTime == incoming.ModTime))
        && old.Mode == incoming.Mode && old.Uid == incoming.Uid && old.Gid == incoming.Gid
        && old.DevMajor == incoming.DevMajor && old.DevMinor == incoming.DevMinor
        && string.Equals(old.Linkname, incoming.Linkname, StringComparison.Ordinal);

    // What broke the protocol is the sender's own doing; it learns only that the transfer is over (spec 01 §5.5 step 6).
    private async Task ReportAsync(Exception failure)
    {
        var text = failure is FileSyncException { InnerException: null } ? "context canceled" : failure.Message;
        _outgoing.Writer.TryWrite(FileSyncMessage.ForError(text));
        _outgoing.Writer.Complete();
        await Task.WhenAny(_allSent.Task, Task.Delay(ErrorDeliveryTime));
    }
}
