using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Secrets;
using BuildKit.Protocol.Services;

namespace BuildKit.Session.Secrets;

/// <summary>The daemon's end of <c>moby.buildkit.secrets.v1.Secrets</c>.</summary>
public static class SecretsClient
{
    /// <summary>The value of a secret, or null when the client does not have it.</summary>
    /// <exception cref="RpcException">The call failed, or the value is larger than <see cref="SecretsProvider.MaxSize"/>.</exception>
    public static async Task<byte[]?> GetAsync(IGrpcChannel channel, string id, CancellationToken cancellationToken)
    {
        try
        {
            var response = await channel.UnaryAsync(SecretsMethods.GetSecret, new GetSecretRequest { ID = id }, default, cancellationToken);
            if (response.Data.Length > SecretsProvider.MaxSize)
                throw new RpcException(StatusCode.Unknown, $"invalid secret size {response.Data.Length}");
            return response.Data.ToByteArray();
        }
        catch (RpcException missing) when (missing.Code is StatusCode.NotFound or StatusCode.Unimplemented)
        {
            return null;
        }
    }
}
