using BuildKit.Protocol.FsUtil;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Services;

/// <summary>The client's directories, read by the daemon (spec 01 §5.5).</summary>
public static class FileSyncMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.filesync.v1.FileSync";

    /// <summary><c>/moby.filesync.v1.FileSync/DiffCopy</c>.</summary>
    public static Method<Packet, Packet> DiffCopy { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "DiffCopy", Packet.Parser, Packet.Parser);

    /// <summary><c>/moby.filesync.v1.FileSync/TarStream</c>.</summary>
    public static Method<Packet, Packet> TarStream { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "TarStream", Packet.Parser, Packet.Parser);
}
