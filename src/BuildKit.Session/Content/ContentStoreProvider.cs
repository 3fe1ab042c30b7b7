using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Protocol.Content;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Session.Content;

/// <summary>
/// The client's end of <c>containerd.services.content.v1.Content</c>: OCI layout directories by store name
/// (spec 01 §1.6, §5.7). Blobs are verified and renamed into place; <c>index.json</c> is the business of who ran the build.
/// </summary>
public sealed class ContentStoreProvider
{
    private const int PieceSize = 32 << 10;
    private const int ListBlock = 100;
    private static readonly TimeSpan YoungBlobs = TimeSpan.FromMinutes(30);

    private readonly Dictionary<string, LayoutBlobs> _stores = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(string Store, string Reference), BlobIngest> _ingests = new();
    private readonly TimeProvider _time;

    /// <summary>Offers directories.</summary>
    /// <param name="stores">Store name (see <see cref="ContentStores"/>) to directory; a missing directory is made.</param>
    /// <param name="time">Clock of ingest times.</param>
    public ContentStoreProvider(IReadOnlyDictionary<string, string> stores, TimeProvider? time = null)
    {
        _time = time ?? TimeProvider.System;
        foreach (var (name, directory) in stores)
        {
            var blobs = new LayoutBlobs(Path.GetFullPath(directory));
            blobs.Initialise();
            _stores.Add(name, blobs);
        }
    }

    /// <summary>The service.</summary>
    public GrpcService ToService() => new GrpcService()
        .Unary(ContentMethods.Info, (request, context) => Task.FromResult(new InfoResponse { Info = GetInfo(Store(context), request.Digest) }))
        .Unary(ContentMethods.Update, static (_, _) => throw new RpcException(StatusCode.FailedPrecondition, "update not supported on immutable content store: failed precondition"))
        .Stream(ContentMethods.List, ListAsync)
        .Unary(ContentMethods.Delete, Delete)
        .Stream(ContentMethods.Read, ReadAsync)
        .Unary(ContentMethods.Status, Status)
        .Unary(ContentMethods.ListStatuses, ListStatuses)
        .Stream(ContentMethods.Write, WriteAsync)
        .Unary(ContentMethods.Abort, Abort);

    private Info GetInfo((string Name, LayoutBlobs Blobs) store, string text)
    {
        var digest = ParseDigest(text);
        var file = store.Blobs.Find(digest) ?? throw NotFound(text);
        // Who asks for a blob of a cache is about to rely on it: pruning leaves what is young.
        if (ContentStores.IsLocal(store.Name) && _time.GetUtcNow() - file.LastWriteTimeUtc > YoungBlobs)
            LayoutBlobs.MakeYoung(file, _time.GetUtcNow());
        return Describe(digest, file);
    }

    private static Info Describe(Digest digest, FileInfo file) => new()
    {
        Digest = digest.ToString(),
        Size = file.Length,
        CreatedAt = Timestamp.FromDateTime(file.LastWriteTimeUtc),
        UpdatedAt = Timestamp.FromDateTime(file.LastAccessTimeUtc),
    };

    private async Task ListAsync(ServerStream<ListContentRequest, ListContentResponse> stream)
    {
        var (_, blobs) = Store(stream);
        if (await stream.ReadAsync(stream.CancellationToken) is { Filters.Count: > 0 })
            throw new RpcException(StatusCode.Unimplemented, "listing content of a session by filters is not supported");
        foreach (var block in blobs.List().Chunk(ListBlock))
        {
            var response = new ListContentResponse();
            foreach (var (digest, file) in block)
                response.Info.Add(Describe(digest, file));
            await stream.SendAsync(response, stream.CancellationToken);
        }
    }

    private Task<Empty> Delete(DeleteContentRequest request, ServerCallContext context) =>
        Store(context).Blobs.Delete(ParseDigest(request.Digest)) ? Task.FromResult(new Empty()) : throw NotFound(request.Digest);

    private async Task ReadAsync(ServerStream<ReadContentRequest, ReadContentResponse> stream)
    {
        var (_, blobs) = Store(stream);
        var request = await stream.ReadAsync(stream.CancellationToken) ?? throw new RpcException(StatusCode.InvalidArgument, "missing request");
        var digest = ParseDigest(request.Digest);
        if (blobs.Find(digest) is not { } file)
            throw NotFound(request.Digest);
        var offset = Math.Max(0, request.Offset);
        if (offset > file.Length)
            throw new RpcException(StatusCode.OutOfRange, $"read past object length {file.Length} bytes: out of range");
        var left = request.Size <= 0 || request.Size > file.Length - offset ? file.Length - offset : request.Size;
        await using var content = blobs.OpenRead(digest);
        content.Position = offset;
        var buffer = new byte[PieceSize];
        long sent = 0;
        while (left > 0)
        {
            var length = await content.ReadAsync(buffer.AsMemory(0, (int)Math.Min(left, PieceSize)), stream.CancellationToken);
            if (length == 0)
                throw new RpcException(StatusCode.DataLoss, $"content digest {digest} became shorter while it was read");
            // Offsets count from the start of this read (spec 01 §1.6).
            await stream.SendAsync(new ReadContentResponse { Offset = sent, Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, length)) }, stream.CancellationToken);
            sent += length;
            left -= length;
        }
    }

    private Task<StatusResponse> Status(StatusRequest request, ServerCallContext context) =>
        _ingests.TryGetValue((Store(context).Name, request.Ref), out var ingest)
            ? Task.FromResult(new StatusResponse { Status = ingest.Describe(request.Ref) })
            : throw new RpcException(StatusCode.NotFound, $"ref {request.Ref}: not found");

    private Task<ListStatusesResponse> ListStatuses(ListStatusesRequest request, ServerCallContext context)
    {
        var (name, _) = Store(context);
        var response = new ListStatusesResponse();
        foreach (var ((store, reference), ingest) in _ingests)
        {
            if (store == name)
                response.Statuses.Add(ingest.Describe(reference));
        }
        return Task.FromResult(response);
    }

    private Task<Empty> Abort(AbortRequest request, ServerCallContext context)
    {
        if (!_ingests.TryRemove((Store(context).Name, request.Ref), out var ingest))
            throw new RpcException(StatusCode.NotFound, $"ref {request.Ref}: not found");
        ingest.Dispose();
        return Task.FromResult(new Empty());
    }

    private async Task WriteAsync(ServerStream<WriteContentRequest, WriteContentResponse> stream)
    {
        var (name, blobs) = Store(stream);
        var request = await stream.ReadAsync(stream.CancellationToken);
        if (request is null || request.Ref.Length == 0)
            throw new RpcException(StatusCode.InvalidArgument, "first message must have a reference: invalid argument");
        var key = (name, request.Ref);
        using var ingest = new BlobIngest(blobs.NewIngestPath(), request.Total, request.Expected, _time);
        if (!_ingests.TryAdd(key, ingest))
            throw new RpcException(StatusCode.Unavailable, $"ref {request.Ref} locked: unavailable");
        try
        {
            for (; request is not null; request = await stream.ReadAsync(stream.CancellationToken))
            {
                var response = Handle(request, ingest, blobs);
                await stream.SendAsync(response, stream.CancellationToken);
                if (request.Action != WriteAction.Commit)
                    continue;
                // Peers have come to expect the last answer twice (spec 01 §1.6).
                await stream.SendAsync(response, stream.CancellationToken);
                return;
            }
        }
        finally
        {
            _ingests.TryRemove(new(key, ingest));
        }
    }

    private static WriteContentResponse Handle(WriteContentRequest request, BlobIngest ingest, LayoutBlobs blobs)
    {
        if (request.Expected.Length > 0)
        {
            ingest.Expected = request.Expected;
            // A file of another size was damaged and is replaced.
            if (blobs.Find(ParseDigest(request.Expected)) is { } there && (request.Total <= 0 || there.Length == request.Total))
                throw new RpcException(StatusCode.AlreadyExists, $"blob with expected digest {request.Expected} exists: already exists");
        }
        if (request.Total > 0)
            ingest.Total = request.Total;
        if (request.Action != WriteAction.Stat)
        {
            if (request.Offset > 0 && request.Offset != ingest.Length)
                throw new RpcException(StatusCode.OutOfRange, $"write @{request.Offset} must occur at current offset {ingest.Length}: out of range");
            if (request.Offset == 0 && ingest.Length > 0 && (request.Action == WriteAction.Write || request.Data.Length > 0))
                ingest.Truncate();
            ingest.Append(request.Data.Span);
        }
        if (request.Action == WriteAction.Commit)
            ingest.Commit(blobs);
        return ingest.Answer(request.Action);
    }

    private (string Name, LayoutBlobs Blobs) Store(ServerCallContext context)
    {
        var name = context.RequestHeaders.Get(ContentStores.Header)
            ?? throw new RpcException(StatusCode.InvalidArgument, $"request lacks metadata \"{ContentStores.Header}\"");
        return _stores.TryGetValue(name, out var blobs) ? (name, blobs) : throw new RpcException(StatusCode.NotFound, $"unknown store {name}");
    }

    private static Digest ParseDigest(string text) =>
        Digest.TryParse(text, out var digest) ? digest : throw new RpcException(StatusCode.InvalidArgument, $"invalid checksum digest format: {text}");

    private static RpcException NotFound(string digest) => new(StatusCode.NotFound, $"content digest {digest}: not found");
}
