using BuildKit.Protocol.Auth;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Services;

/// <summary>Registry credentials held by the client (spec 01 §5.8).</summary>
public static class AuthMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.filesync.v1.Auth";

    /// <summary><c>/moby.filesync.v1.Auth/Credentials</c>.</summary>
    public static Method<CredentialsRequest, CredentialsResponse> Credentials { get; } =
        new(MethodKind.Unary, ServiceName, "Credentials", CredentialsRequest.Parser, CredentialsResponse.Parser);

    /// <summary><c>/moby.filesync.v1.Auth/FetchToken</c>.</summary>
    public static Method<FetchTokenRequest, FetchTokenResponse> FetchToken { get; } =
        new(MethodKind.Unary, ServiceName, "FetchToken", FetchTokenRequest.Parser, FetchTokenResponse.Parser);

    /// <summary><c>/moby.filesync.v1.Auth/GetTokenAuthority</c>.</summary>
    public static Method<GetTokenAuthorityRequest, GetTokenAuthorityResponse> GetTokenAuthority { get; } =
        new(MethodKind.Unary, ServiceName, "GetTokenAuthority", GetTokenAuthorityRequest.Parser, GetTokenAuthorityResponse.Parser);

    /// <summary><c>/moby.filesync.v1.Auth/VerifyTokenAuthority</c>.</summary>
    public static Method<VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse> VerifyTokenAuthority { get; } =
        new(MethodKind.Unary, ServiceName, "VerifyTokenAuthority", VerifyTokenAuthorityRequest.Parser, VerifyTokenAuthorityResponse.Parser);
}
