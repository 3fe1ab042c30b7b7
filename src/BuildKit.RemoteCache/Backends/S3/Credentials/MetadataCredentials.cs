using System.Net;
using System.Text;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>Roles of the container (ECS, EKS) or the machine (EC2), told by a service on a link-local address.</summary>
internal sealed class MetadataCredentials(Func<string, string?> environment, HttpMessageInvoker http, TimeProvider time)
{
    private const string InstanceService = "http://169.254.169.254";

    // Elsewhere than on Amazon's machines nobody answers at all.
    private static readonly TransferPolicy Quick = new(2, TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));

    private StoreConnection Service { get; } = new(http, new PlainProtocol("metadata service"), Quick, time);

    /// <summary>The role's credentials; null when there is no such service here, or no role.</summary>
    public async Task<AwsCredentials?> FindAsync(CancellationToken cancellationToken) =>
        await OfContainerAsync(cancellationToken).ConfigureAwait(false) ?? await OfInstanceAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>The role of the container; null when the environment names no service.</summary>
    public async Task<AwsCredentials?> OfContainerAsync(CancellationToken cancellationToken)
    {
        var url = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") is { Length: > 0 } relative ? "http://169.254.170.2" + relative
            : environment("AWS_CONTAINER_CREDENTIALS_FULL_URI") is { Length: > 0 } full ? full : null;
        if (url is null)
            return null;
        if (!Uri.TryCreate(url, UriKind.Absolute, out var uri) || !MayBeTold(uri))
            throw new TransferException($"get identity: get credentials: invalid endpoint host, {url}: only https, loopback and the addresses of ECS and EKS are allowed");
        var token = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") is { Length: > 0 } file
            ? (await File.ReadAllTextAsync(file, cancellationToken).ConfigureAwait(false)).Trim()
            : environment("AWS_CONTAINER_AUTHORIZATION_TOKEN") ?? "";
        return await Service.ReadAsync(
            new StoreRequest(HttpMethod.Get, url) { Headers = token.Length > 0 ? [new("Authorization", token)] : [] },
            static (_, json) => CredentialJson.Parse(json, "the container's credential service"), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The role of the machine; null when it is no machine of Amazon's or has none.</summary>
    public async Task<AwsCredentials?> OfInstanceAsync(CancellationToken cancellationToken)
    {
        if (string.Equals(environment("AWS_EC2_METADATA_DISABLED"), "true", StringComparison.OrdinalIgnoreCase))
            return null;
        var service = (environment("AWS_EC2_METADATA_SERVICE_ENDPOINT") is { Length: > 0 } given ? given : InstanceService).TrimEnd('/');
        try
        {
            var token = await TextAsync(
                new StoreRequest(HttpMethod.Put, service + "/latest/api/token") { Headers = [new("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")] }, cancellationToken).ConfigureAwait(false);
            KeyValuePair<string, string>[] headers = [new("X-Aws-Ec2-Metadata-Token", token)];
            var roles = service + "/latest/meta-data/iam/security-credentials/";
            var role = (await TextAsync(new StoreRequest(HttpMethod.Get, roles) { Headers = headers }, cancellationToken).ConfigureAwait(false)).Split('\n')[0].Trim();
            return await Service.ReadAsync(
                new StoreRequest(HttpMethod.Get, roles + role) { Headers = headers },
                static (_, json) => CredentialJson.Parse(json, "the instance metadata service"), cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Status == 404 || (e.Status == 0 && e.IsTransient))
        {
            return null; // documented: no service, or no role
        }
    }

    private Task<string> TextAsync(StoreRequest request, CancellationToken cancellationToken) =>
        Service.ReadAsync(request, static (_, bytes) => Encoding.UTF8.GetString(bytes), cancellationToken);

    private static bool MayBeTold(Uri url) => url.Scheme == "https" || url.IsLoopback
        || (IPAddress.TryParse(url.IdnHost.Trim('[', ']'), out var address)
            && (IPAddress.IsLoopback(address) || address.ToString() is "169.254.170.2" or "169.254.170.23" or "fd00:ec2::23"));
}

/// <summary>A service whose answers are plain: no signature, errors by status.</summary>
internal sealed class PlainProtocol(string name) : IStoreProtocol
{
    public ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body)
    {
        var texts = StoreXml.Texts(body);
        var code = texts.GetValueOrDefault("Code") ?? "";
        return new TransferException($"get identity: get credentials: {name} answered {(int)response.StatusCode}{(code.Length > 0 ? $", {code}: {texts.GetValueOrDefault("Message")}" : "")}")
        {
            Status = (int)response.StatusCode,
            Code = code,
            IsTransient = (int)response.StatusCode is 429 or >= 500,
        };
    }

    public TransferException Unreachable(StoreRequest request, string cause, Exception inner) =>
        new($"get identity: get credentials: {name} at {request.Url} cannot be reached: {cause}", inner) { IsTransient = true };
}
