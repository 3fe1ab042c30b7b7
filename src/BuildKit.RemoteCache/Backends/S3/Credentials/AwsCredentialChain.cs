using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>
/// The places Amazon's clients look for credentials, in their order: a profile that was asked for (<c>AWS_PROFILE</c>), keys in
/// the environment, a web identity token (Kubernetes service accounts), the default profile, the container's role, the machine's
/// role. The first that has some decides. Temporary ones are fetched again five minutes before they end, and when a store says
/// that they ended: files and services have new ones before the old ones end.
/// </summary>
internal sealed class AwsCredentialChain(Func<string, string?> environment, HttpMessageInvoker http, string region, TimeProvider time) : IAwsCredentialSource
{
    private static readonly TimeSpan Margin = TimeSpan.FromMinutes(5);

    private readonly SemaphoreSlim _gate = new(1);
    private AwsCredentials? _known;

    public async ValueTask<AwsCredentials?> GetAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_known is null || (_known.Expires is { } end && end - time.GetUtcNow() < Margin))
                _known = await FindAsync(cancellationToken).ConfigureAwait(false);
            return _known;
        }
        finally
        {
            _gate.Release();
        }
    }

    public async ValueTask<bool> RenewAsync(AwsIdentity refused, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (IsOf(refused, _known))
                _known = await FindAsync(cancellationToken).ConfigureAwait(false);
            return _known is not null && !IsOf(refused, _known);
        }
        catch (TransferException)
        {
            return false; // Documented: the refusal is the error to tell.
        }
        finally
        {
            _gate.Release();
        }
    }

    private static bool IsOf(AwsIdentity identity, AwsCredentials? credentials) =>
        credentials is not null && credentials.AccessKeyId == identity.AccessKeyId && credentials.SessionToken == identity.SessionToken;

    private async Task<AwsCredentials?> FindAsync(CancellationToken cancellationToken)
    {
        var tokens = new SecurityTokens(environment, http, region, time);
        var roles = new MetadataCredentials(environment, http, time);
        var profiles = new AwsProfiles(environment);
        var profile = new ProfileCredentials(profiles, environment, tokens, roles, http, time);
        if (environment("AWS_PROFILE") is { Length: > 0 } asked)
        {
            return await profile.FindAsync(asked, cancellationToken).ConfigureAwait(false)
                ?? await roles.FindAsync(cancellationToken).ConfigureAwait(false)
                ?? throw new TransferException($"get identity: get credentials: failed to get shared config profile, {asked}");
        }
        return FromEnvironment(environment)
            ?? await tokens.FromEnvironmentAsync(cancellationToken).ConfigureAwait(false)
            ?? await profile.FindAsync(AwsProfiles.Default, cancellationToken).ConfigureAwait(false)
            ?? await roles.FindAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Keys in the environment, or null.</summary>
    internal static AwsCredentials? FromEnvironment(Func<string, string?> environment)
    {
        var id = environment("AWS_ACCESS_KEY_ID") is { Length: > 0 } first ? first : environment("AWS_ACCESS_KEY");
        var secret = environment("AWS_SECRET_ACCESS_KEY") is { Length: > 0 } second ? second : environment("AWS_SECRET_KEY");
        return string.IsNullOrEmpty(id) || string.IsNullOrEmpty(secret) ? null : new AwsCredentials(id, secret, environment("AWS_SESSION_TOKEN") ?? "", null);
    }
}
