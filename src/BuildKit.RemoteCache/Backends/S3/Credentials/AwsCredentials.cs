namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>An identity for requests to Amazon's services.</summary>
/// <param name="AccessKeyId">Public part of the key.</param>
/// <param name="SecretAccessKey">Secret part of the key.</param>
/// <param name="SessionToken">Goes with temporary keys; empty for others.</param>
/// <param name="Expires">End of a temporary key; null for none.</param>
internal sealed record AwsCredentials(string AccessKeyId, string SecretAccessKey, string SessionToken, DateTimeOffset? Expires);

/// <summary>A place credentials come from. Safe for concurrent use.</summary>
internal interface IAwsCredentialSource
{
    /// <summary>The credentials, or null when this place has none. One that should have some but fails throws
    /// <see cref="Transfer.TransferException"/>: another identity must not be used in its stead.</summary>
    ValueTask<AwsCredentials?> GetAsync(CancellationToken cancellationToken);

    /// <summary>Looks again after a key was refused; whether there is another one now.</summary>
    /// <param name="refused">The key; its secret part is not known.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    ValueTask<bool> RenewAsync(AwsIdentity refused, CancellationToken cancellationToken);
}

/// <summary>What a signed request shows of its credentials.</summary>
internal readonly record struct AwsIdentity(string AccessKeyId, string SessionToken);

/// <summary>Given credentials.</summary>
internal sealed class StaticAwsCredentials(AwsCredentials credentials) : IAwsCredentialSource
{
    public ValueTask<AwsCredentials?> GetAsync(CancellationToken cancellationToken) => ValueTask.FromResult<AwsCredentials?>(credentials);

    public ValueTask<bool> RenewAsync(AwsIdentity refused, CancellationToken cancellationToken) => ValueTask.FromResult(false);
}
