using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Ssh;

namespace BuildKit.Protocol.Services;

/// <summary>ssh agents of the client (spec 01 §5.9).</summary>
public static class SshMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.sshforward.v1.SSH";

    /// <summary><c>/moby.sshforward.v1.SSH/CheckAgent</c>.</summary>
    public static Method<CheckAgentRequest, CheckAgentResponse> CheckAgent { get; } =
        new(MethodKind.Unary, ServiceName, "CheckAgent", CheckAgentRequest.Parser, CheckAgentResponse.Parser);

    /// <summary><c>/moby.sshforward.v1.SSH/ForwardAgent</c>.</summary>
    public static Method<BytesMessage, BytesMessage> ForwardAgent { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "ForwardAgent", BytesMessage.Parser, BytesMessage.Parser);
}
