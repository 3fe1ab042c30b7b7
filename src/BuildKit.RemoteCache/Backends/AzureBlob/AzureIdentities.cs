using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Azure.Core;
using Azure.Identity;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>Proves an identity to the storage service.</summary>
internal interface IAzureIdentity
{
    /// <summary>Sets the authorization of a request whose other headers are complete.</summary>
    ValueTask AuthorizeAsync(HttpRequestMessage message, CancellationToken cancellationToken);

    /// <summary>Looks again after an authorization was refused; whether there is another one now.</summary>
    ValueTask<bool> RenewAsync(HttpRequestMessage refused, CancellationToken cancellationToken) => ValueTask.FromResult(false);
}

/// <summary>The account's key: a keyed hash over the request's parts.</summary>
internal sealed class SharedKeyIdentity(string account, byte[] key) : IAzureIdentity
{
    public ValueTask AuthorizeAsync(HttpRequestMessage message, CancellationToken cancellationToken)
    {
        var signature = Convert.ToBase64String(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(StringToSign(message, account))));
        message.Headers.TryAddWithoutValidation("Authorization", $"SharedKey {account}:{signature}");
        return ValueTask.CompletedTask;
    }

    /// <summary>What the signature covers: method, standard headers, all <c>x-ms-</c> headers in order, and the resource with its
    /// path as sent and its query decoded.</summary>
    internal static string StringToSign(HttpRequestMessage message, string account)
    {
        var headers = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, values) in message.Headers.NonValidated.Concat(message.Content?.Headers.NonValidated ?? default))
            headers[name.ToLowerInvariant()] = values.ToString().Trim();
        var length = message.Content?.Headers.ContentLength is > 0 and var size ? size.ToString(CultureInfo.InvariantCulture) : "";
        string Of(string name) => headers.GetValueOrDefault(name) ?? "";
        var text = new StringBuilder();
        foreach (var line in new[]
        {
            message.Method.Method, Of("content-encoding"), Of("content-language"), length, Of("content-md5"), Of("content-type"), "",
            Of("if-modified-since"), Of("if-match"), Of("if-none-match"), Of("if-unmodified-since"), Of("range"),
        })
        {
            text.Append(line).Append('\n');
        }
        foreach (var (name, value) in headers.Where(header => header.Key.StartsWith("x-ms-", StringComparison.Ordinal)))
            text.Append(name).Append(':').Append(value).Append('\n');
        var url = message.RequestUri!;
        text.Append('/').Append(account).Append(url.AbsolutePath);
        foreach (var (name, value) in url.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries)
            .Select(static pair => pair.Split('=', 2)).Select(static pair => (Uri.UnescapeDataString(pair[0]), Uri.UnescapeDataString(pair[^1])))
            .OrderBy(static pair => pair.Item1, StringComparer.Ordinal))
        {
            text.Append('\n').Append(name).Append(':').Append(value);
        }
        return text.ToString();
    }
}

/// <summary>A token of Microsoft Entra ID; fetched again a few minutes before it ends, and when the service does not take it.</summary>
internal sealed class TokenIdentity(TokenCredential credential, TimeProvider time) : IAzureIdentity
{
    private static readonly TimeSpan Margin = TimeSpan.FromMinutes(5);

    private static readonly TokenRequestContext Context = new(["https://storage.azure.com/.default"]);

    private readonly SemaphoreSlim _gate = new(1);
    private AccessToken? _known;

    public async ValueTask<bool> RenewAsync(HttpRequestMessage refused, CancellationToken cancellationToken)
    {
        refused.Headers.NonValidated.TryGetValues("Authorization", out var used);
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_known is { } token && used.ToString() == "Bearer " + token.Token)
                _known = await credential.GetTokenAsync(Context, cancellationToken).ConfigureAwait(false);
            return _known is { } now && used.ToString() != "Bearer " + now.Token;
        }
        catch (AuthenticationFailedException)
        {
            return false; // Documented: the refusal is the error to tell.
        }
        finally
        {
            _gate.Release();
        }
    }

    public async ValueTask AuthorizeAsync(HttpRequestMessage message, CancellationToken cancellationToken)
    {
        if (message.RequestUri!.Scheme != "https")
            throw new TransferException("authenticated requests are not permitted for non TLS protected (https) endpoints");
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_known is not { } token || token.ExpiresOn - time.GetUtcNow() < Margin)
                _known = await credential.GetTokenAsync(Context, cancellationToken).ConfigureAwait(false);
            message.Headers.TryAddWithoutValidation("Authorization", "Bearer " + _known.Value.Token);
        }
        catch (AuthenticationFailedException e)
        {
            throw new TransferException(e.Message, e);
        }
        finally
        {
            _gate.Release();
        }
    }
}
