using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Secrets;

namespace BuildKit.Protocol.Services;

/// <summary>Secrets held by the client (spec 01 §5.9).</summary>
public static class SecretsMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.buildkit.secrets.v1.Secrets";

    /// <summary><c>/moby.buildkit.secrets.v1.Secrets/GetSecret</c>.</summary>
    public static Method<GetSecretRequest, GetSecretResponse> GetSecret { get; } =
        new(MethodKind.Unary, ServiceName, "GetSecret", GetSecretRequest.Parser, GetSecretResponse.Parser);
}
