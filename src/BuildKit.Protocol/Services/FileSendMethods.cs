using BuildKit.Protocol.FileSync;
using BuildKit.Protocol.FsUtil;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Services;

/// <summary>Exporter output toward the client; <see cref="DiffCopyPackets"/> is the same method carrying file packets (spec 01 §5.6).</summary>
public static class FileSendMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.filesync.v1.FileSend";

    /// <summary><c>/moby.filesync.v1.FileSend/DiffCopy</c>.</summary>
    public static Method<BytesMessage, BytesMessage> DiffCopy { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "DiffCopy", BytesMessage.Parser, BytesMessage.Parser);

    /// <summary><c>/moby.filesync.v1.FileSend/DiffCopy</c> carrying file packets (directory targets).</summary>
    public static Method<Packet, Packet> DiffCopyPackets { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "DiffCopy", Packet.Parser, Packet.Parser);
}
