using System.Security.Cryptography;
using BuildKit.Protocol.Auth;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Session.Crypto;
using Google.Protobuf;

namespace BuildKit.Session.Auth;

/// <summary>The daemon's end of <c>moby.filesync.v1.Auth</c> (spec 07 §12.5).</summary>
/// <param name="channel">The session.</param>
public sealed class AuthClient(IGrpcChannel channel)
{
    /// <summary>What the daemon calls itself at token servers.</summary>
    public const string ClientId = "buildkit-client";

    /// <summary>The client's credentials of a host; anonymous when it offers none.</summary>
    public async Task<RegistryCredentials> GetCredentialsAsync(string host, CancellationToken cancellationToken)
    {
        try
        {
            var response = await channel.UnaryAsync(AuthMethods.Credentials, new CredentialsRequest { Host = host }, default, cancellationToken);
            return new RegistryCredentials(response.Username, response.Secret);
        }
        catch (RpcException absent) when (absent.Code == StatusCode.Unimplemented)
        {
            return RegistryCredentials.None;
        }
    }

    /// <summary>The public key that proves who fetches tokens for a host, or null when the client wants the daemon to do it.</summary>
    /// <exception cref="RpcException">The client failed, or its key is not 32 bytes.</exception>
    public async Task<byte[]?> GetTokenAuthorityAsync(string host, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken)
    {
        try
        {
            var request = new GetTokenAuthorityRequest { Host = host, Salt = UnsafeByteOperations.UnsafeWrap(salt) };
            var response = await channel.UnaryAsync(AuthMethods.GetTokenAuthority, request, default, cancellationToken);
            return response.PublicKey.Length == Ed25519.KeySize
                ? response.PublicKey.ToByteArray()
                : throw new RpcException(StatusCode.Unknown, $"invalid pubkey length {response.PublicKey.Length}");
        }
        catch (RpcException absent) when (absent.Code is StatusCode.Unimplemented or StatusCode.Unavailable)
        {
            return null;
        }
    }

    /// <summary>Whether the client holds the private half of a key: it has to sign random bytes.</summary>
    public async Task<bool> VerifyTokenAuthorityAsync(string host, ReadOnlyMemory<byte> publicKey, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken)
    {
        var payload = RandomNumberGenerator.GetBytes(32);
        try
        {
            var request = new VerifyTokenAuthorityRequest { Host = host, Payload = ByteString.CopyFrom(payload), Salt = UnsafeByteOperations.UnsafeWrap(salt) };
            var response = await channel.UnaryAsync(AuthMethods.VerifyTokenAuthority, request, default, cancellationToken);
            var signed = response.Signed.Span;
            return signed.Length == Ed25519.SignatureSize + payload.Length
                && CryptographicOperations.FixedTimeEquals(signed[Ed25519.SignatureSize..], payload)
                && Ed25519.Verify(publicKey.Span, payload, signed[..Ed25519.SignatureSize]);
        }
        catch (RpcException absent) when (absent.Code == StatusCode.Unimplemented)
        {
            return false;
        }
    }

    /// <summary>Lets the client fetch a token.</summary>
    public async Task<RegistryToken> FetchTokenAsync(string host, TokenRequest wanted, CancellationToken cancellationToken)
    {
        var request = new FetchTokenRequest { ClientID = wanted.ClientId, Host = host, Realm = wanted.Realm, Service = wanted.Service };
        request.Scopes.AddRange(wanted.Scopes);
        var response = await channel.UnaryAsync(AuthMethods.FetchToken, request, default, cancellationToken);
        return new RegistryToken(response.Token, response.ExpiresIn, response.IssuedAt);
    }
}
