using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;

namespace BuildKit.Session.Upload;

/// <summary>The daemon's end of <c>moby.upload.v1.Upload</c>.</summary>
public static class UploadClient
{
    /// <summary>Opens what the client serves for a URL; an unknown one fails at the first read.</summary>
    public static Stream Open(IGrpcChannel channel, Uri url, CancellationToken cancellationToken)
    {
        var headers = new Metadata { { "urlpath", url.AbsolutePath }, { "urlhost", url.Authority } };
        var call = channel.Open(UploadMethods.Pull, new CallOptions(headers), cancellationToken);
        return new MessageReadStream(
            async token => (await call.ReadAsync(token))?.Data.Memory,
            call.DisposeAsync);
    }
}
