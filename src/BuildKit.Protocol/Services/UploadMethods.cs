using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Upload;

namespace BuildKit.Protocol.Services;

/// <summary>One-shot bodies the client serves by URL (spec 01 §5.9).</summary>
public static class UploadMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.upload.v1.Upload";

    /// <summary><c>/moby.upload.v1.Upload/Pull</c>.</summary>
    public static Method<BytesMessage, BytesMessage> Pull { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "Pull", BytesMessage.Parser, BytesMessage.Parser);
}
