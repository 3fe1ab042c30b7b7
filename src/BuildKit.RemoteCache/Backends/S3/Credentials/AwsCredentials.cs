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
}

/// <summary>Given credentials.</summary>
internal sealed class StaticAwsCredentials(AwsCredentials credentials) : IAwsCredentialSource
{
    public ValueTask<AwsCredentials?> GetAsync(CancellationToken cancellationToken) => ValueTask.FromResult<AwsCredentials?>(credentials);
}
