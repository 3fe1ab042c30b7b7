using BuildKit.Oci;
using BuildKit.Protocol.Content;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Storage.Content;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Daemon.Control;

/// <summary>The daemon's blobs, for reading only (spec 01 §1.6, §1.8).</summary>
internal sealed class ContentService(IContentStore content)
{
    private const int ChunkSize = 32 * 1024;
    private const int InfosPerMessage = 100;

    /// <summary>The handlers.</summary>
    public GrpcService ToService() => new GrpcService()
        .Unary(ContentMethods.Info, async (request, call) => new InfoResponse { Info = Message(await FindAsync(request.Digest, call.CancellationToken)) })
        .Stream(ContentMethods.List, ListAsync)
        .Stream(ContentMethods.Read, ReadAsync)
        .Unary(ContentMethods.Update, (_, _) => throw ReadOnly())
        .Unary(ContentMethods.Delete, (_, _) => throw ReadOnly())
        .Unary(ContentMethods.Abort, (_, _) => throw ReadOnly())
        .Stream(ContentMethods.Write, _ => throw ReadOnly());

    private async Task ListAsync(ServerStream<ListContentRequest, ListContentResponse> stream)
    {
        await stream.ReadAsync(stream.CancellationToken);
        var message = new ListContentResponse();
        await foreach (var info in content.ListAsync(stream.CancellationToken))
        {
            message.Info.Add(Message(info));
            if (message.Info.Count < InfosPerMessage)
                continue;
            await stream.SendAsync(message, stream.CancellationToken);
            message = new ListContentResponse();
        }
        if (message.Info.Count > 0)
            await stream.SendAsync(message, stream.CancellationToken);
    }

    private async Task ReadAsync(ServerStream<ReadContentRequest, ReadContentResponse> stream)
    {
        var request = await stream.ReadAsync(stream.CancellationToken) ?? new ReadContentRequest();
        var info = await FindAsync(request.Digest, stream.CancellationToken);
        var offset = Math.Max(0, request.Offset);
        if (offset > info.Size)
            throw new RpcException(StatusCode.OutOfRange, $"read past object length {info.Size} bytes");
        var left = request.Size <= 0 ? info.Size - offset : Math.Min(request.Size, info.Size - offset);
        await using var blob = await content.OpenAsync(info.Digest, stream.CancellationToken);
        blob.Seek(offset, SeekOrigin.Begin);
        var buffer = new byte[ChunkSize];
        long sent = 0;
        while (left > 0)
        {
            var count = await blob.ReadAsync(buffer.AsMemory(0, (int)Math.Min(left, buffer.Length)), stream.CancellationToken);
            if (count == 0)
                break;
            await stream.SendAsync(new ReadContentResponse { Offset = sent, Data = ByteString.CopyFrom(buffer, 0, count) }, stream.CancellationToken);
            sent += count;
            left -= count;
        }
    }

    private async Task<BlobInfo> FindAsync(string text, CancellationToken cancellationToken)
    {
        if (!Digest.TryParse(text, out var digest))
            throw new RpcException(StatusCode.InvalidArgument, $"invalid digest \"{text}\"");
        return await content.GetInfoAsync(digest, cancellationToken)
            ?? throw new RpcException(StatusCode.NotFound, $"content digest {digest}: not found");
    }

    private static Info Message(BlobInfo blob)
    {
        var info = new Info
        {
            Digest = blob.Digest.ToString(),
            Size = blob.Size,
            CreatedAt = Timestamp.FromDateTimeOffset(blob.CreatedAt),
            UpdatedAt = Timestamp.FromDateTimeOffset(blob.UpdatedAt),
        };
        foreach (var (key, value) in blob.Labels)
            info.Labels.Add(key, value);
        return info;
    }

    private static RpcException ReadOnly() => new(StatusCode.Unknown, "read-only content store");
}
