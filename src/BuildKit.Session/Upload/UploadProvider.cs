using System.Collections.Concurrent;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Protocol.Upload;
using Google.Protobuf;

namespace BuildKit.Session.Upload;

/// <summary>The client's end of <c>moby.upload.v1.Upload</c>: each stream is given out once (spec 01 §5.9).</summary>
public sealed class UploadProvider
{
    private const int PieceSize = 1 << 20;

    private readonly ConcurrentDictionary<string, Func<CancellationToken, ValueTask<Stream>>> _sources = new(StringComparer.Ordinal);

    /// <summary>Offers a stream and returns the URL under which an http source of a build reads it.</summary>
    /// <param name="id">Last part of the URL's path.</param>
    /// <param name="open">Opens the stream when it is asked for; the service disposes it.</param>
    public string Add(string id, Func<CancellationToken, ValueTask<Stream>> open)
    {
        _sources[id] = open;
        return "http://buildkit-session/" + id;
    }

    /// <summary>The service.</summary>
    public GrpcService ToService() => new GrpcService().Stream(UploadMethods.Pull, PullAsync);

    private async Task PullAsync(ServerStream<BytesMessage, BytesMessage> stream)
    {
        var path = stream.RequestHeaders.Get("urlpath") ?? "";
        var id = path[(path.TrimEnd('/').LastIndexOf('/') + 1)..].TrimEnd('/');
        if (!_sources.TryRemove(id, out var open))
            throw new RpcException(StatusCode.Unknown, $"no http response from session for {id}");
        await using var content = await open(stream.CancellationToken);
        var buffer = new byte[PieceSize];
        while (await content.ReadAsync(buffer, stream.CancellationToken) is var length and > 0)
            await stream.SendAsync(new BytesMessage { Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, length)) }, stream.CancellationToken);
    }
}
