using System.Text;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>Amazon's Security Token Service: roles taken on with another identity or with a web identity token.</summary>
internal sealed class SecurityTokens(Func<string, string?> environment, HttpMessageInvoker http, string region, TimeProvider time)
{
    /// <summary>The role a Kubernetes service account has, as the environment names it; null when it names none.</summary>
    public async Task<AwsCredentials?> FromEnvironmentAsync(CancellationToken cancellationToken) =>
        environment("AWS_WEB_IDENTITY_TOKEN_FILE") is not { Length: > 0 } file ? null
        : environment("AWS_ROLE_ARN") is not { Length: > 0 } role
            ? throw new TransferException("get identity: get credentials: role ARN is not set: AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN beside it")
            : await WithWebIdentityAsync(role, environment("AWS_ROLE_SESSION_NAME") ?? "", file, cancellationToken).ConfigureAwait(false);

    /// <summary>A role taken on with a token from a file, which is read anew each time.</summary>
    public async Task<AwsCredentials> WithWebIdentityAsync(string role, string session, string tokenFile, CancellationToken cancellationToken)
    {
        string token;
        try
        {
            token = await File.ReadAllTextAsync(tokenFile, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TransferException($"get identity: get credentials: failed to retrieve jwt from provide source, unable to read file at {tokenFile}: {e.Message}", e);
        }
        return await AskAsync(
            "AssumeRoleWithWebIdentity", [new("RoleArn", role), new("RoleSessionName", Session(session)), new("WebIdentityToken", token.Trim())], null, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A role taken on with another identity.</summary>
    public Task<AwsCredentials> WithIdentityAsync(AwsCredentials identity, string role, IReadOnlyDictionary<string, string> profile, CancellationToken cancellationToken)
    {
        List<KeyValuePair<string, string>> form = [new("RoleArn", role), new("RoleSessionName", Session(profile.GetValueOrDefault("role_session_name") ?? ""))];
        if (profile.GetValueOrDefault("external_id") is { Length: > 0 } externalId)
            form.Add(new("ExternalId", externalId));
        if (profile.GetValueOrDefault("duration_seconds") is { Length: > 0 } seconds)
            form.Add(new("DurationSeconds", seconds));
        return AskAsync("AssumeRole", form, identity, cancellationToken);
    }

    private async Task<AwsCredentials> AskAsync(string action, IReadOnlyList<KeyValuePair<string, string>> parameters, AwsCredentials? signer, CancellationToken cancellationToken)
    {
        var url = environment("AWS_ENDPOINT_URL_STS") is { Length: > 0 } given ? given.TrimEnd('/') + "/" : $"https://sts.{region}.{S3Endpoint.Domain(region)}/";
        var form = string.Join('&', parameters
            .Prepend(new("Version", "2011-06-15")).Prepend(new("Action", action))
            .Select(p => $"{p.Key}={UrlEncoding.Encode(p.Value, "")}"));
        var service = new StoreConnection(http, new Protocol(signer, region, time), TransferPolicy.Default, time);
        var request = new StoreRequest(HttpMethod.Post, url)
        {
            Headers = [new("Content-Type", "application/x-www-form-urlencoded")],
            Body = StoreBody.Of(Encoding.UTF8.GetBytes(form)),
        };
        var texts = await service.ReadAsync(request, static (_, body) => StoreXml.Texts(body), cancellationToken).ConfigureAwait(false);
        var (id, secret) = (texts.GetValueOrDefault("AccessKeyId") ?? "", texts.GetValueOrDefault("SecretAccessKey") ?? "");
        return id.Length > 0 && secret.Length > 0
            ? new AwsCredentials(id, secret, texts.GetValueOrDefault("SessionToken") ?? "", CredentialJson.ParseTime(texts.GetValueOrDefault("Expiration") ?? ""))
            : throw new TransferException($"get identity: get credentials: operation error STS: {action}, the answer holds no credentials");
    }

    private string Session(string given) => given.Length > 0 ? given : "buildkit-" + time.GetUtcNow().ToUnixTimeSeconds().ToString(System.Globalization.CultureInfo.InvariantCulture);

    private sealed class Protocol(AwsCredentials? signer, string region, TimeProvider time) : IStoreProtocol
    {
        private readonly PlainProtocol _plain = new("STS");

        public ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken)
        {
            if (signer is not null)
                AwsSigner.Sign(message, signer, region, "sts", request.Body!.Sha256!, time.GetUtcNow());
            return ValueTask.CompletedTask;
        }

        public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body) => _plain.Explain(request, response, body);

        public TransferException Unreachable(StoreRequest request, string cause, Exception inner) => _plain.Unreachable(request, cause, inner);
    }
}
