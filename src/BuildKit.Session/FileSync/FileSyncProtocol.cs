using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;

namespace BuildKit.Session.FileSync;

/// <summary>Either end of a call that carries <see cref="FileSyncMessage"/>s. One reader and one writer at a time.</summary>
internal interface IMessagePipe
{
    /// <summary>The next message, or null when the peer will send no more.</summary>
    ValueTask<FileSyncMessage?> ReadAsync(CancellationToken cancellationToken);

    /// <summary>Sends a message; its memory may be reused afterwards.</summary>
    ValueTask SendAsync(FileSyncMessage message, CancellationToken cancellationToken);

    /// <summary>Ends the call after both sides said FIN: the caller waits for the server to end it, then half-closes.</summary>
    ValueTask FinishAsync(CancellationToken cancellationToken);
}

/// <summary>The methods of the file transfer services, typed for raw names.</summary>
internal static class FileSyncCalls
{
    public static Method<FileSyncMessage, FileSyncMessage> Receive { get; } = Make(FileSyncMethods.ServiceName, "DiffCopy");

    public static Method<FileSyncMessage, FileSyncMessage> Tar { get; } = Make(FileSyncMethods.ServiceName, "TarStream");

    public static Method<FileSyncMessage, FileSyncMessage> Send { get; } = Make(FileSendMethods.ServiceName, "DiffCopy");

    private static Method<FileSyncMessage, FileSyncMessage> Make(string service, string name) =>
        new(MethodKind.DuplexStreaming, service, name, FileSyncMessage.Parser, FileSyncMessage.Parser);
}

/// <summary>The serving end.</summary>
internal sealed class ServerPipe(ServerStream<FileSyncMessage, FileSyncMessage> stream) : IMessagePipe
{
    public ValueTask<FileSyncMessage?> ReadAsync(CancellationToken cancellationToken) => stream.ReadAsync(cancellationToken);

    public ValueTask SendAsync(FileSyncMessage message, CancellationToken cancellationToken) => stream.SendAsync(message, cancellationToken);

    // Some callers never half-close; returning from the handler ends the call.
    public ValueTask FinishAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
}

/// <summary>The calling end.</summary>
internal sealed class CallPipe(IGrpcCall<FileSyncMessage, FileSyncMessage> call) : IMessagePipe
{
    public ValueTask<FileSyncMessage?> ReadAsync(CancellationToken cancellationToken) => call.ReadAsync(cancellationToken);

    public ValueTask SendAsync(FileSyncMessage message, CancellationToken cancellationToken) => call.SendAsync(message, cancellationToken);

    public async ValueTask FinishAsync(CancellationToken cancellationToken)
    {
        while (await call.ReadAsync(cancellationToken) is not null)
        {
        }
        await call.CompleteAsync(cancellationToken);
    }
}
