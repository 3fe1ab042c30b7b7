using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>What a profile says of its identity: a role on top of another profile, keys, a single sign-on, a helper program or a
/// web identity.</summary>
internal sealed class ProfileCredentials(
    AwsProfiles profiles, Func<string, string?> environment, SecurityTokens tokens, MetadataCredentials roles, HttpMessageInvoker http, TimeProvider time)
{
    /// <summary>Credentials of a profile; null when it is not there or says nothing of them.</summary>
    /// <exception cref="TransferException">It names some that cannot be had.</exception>
    public Task<AwsCredentials?> FindAsync(string name, CancellationToken cancellationToken) => FindAsync(name, [], cancellationToken);

    private async Task<AwsCredentials?> FindAsync(string name, IReadOnlyList<string> above, CancellationToken cancellationToken)
    {
        if (profiles.Find(name) is not { } profile)
            return null;
        string Get(string key) => profile.GetValueOrDefault(key) ?? "";
        var role = Get("role_arn");
        if (role.Length > 0 && Get("web_identity_token_file") is { Length: > 0 } webIdentity)
            return await tokens.WithWebIdentityAsync(role, Get("role_session_name"), webIdentity, cancellationToken).ConfigureAwait(false);
        // A profile may be the source of its own role: then its keys are meant.
        if (role.Length > 0 && !above.Contains(name, StringComparer.Ordinal))
        {
            if (Get("mfa_serial").Length > 0)
                throw Error(name, "role_arn with mfa_serial needs someone to type a code, which a daemon cannot ask for");
            var source = Get("source_profile");
            var identity = source.Length > 0
                ? await FindAsync(source, [.. above, name], cancellationToken).ConfigureAwait(false)
                : Get("credential_source") switch
                {
                    "Environment" => AwsCredentialChain.FromEnvironment(environment),
                    "Ec2InstanceMetadata" => await roles.OfInstanceAsync(cancellationToken).ConfigureAwait(false),
                    "EcsContainer" => await roles.OfContainerAsync(cancellationToken).ConfigureAwait(false),
                    _ => throw Error(name, "role_arn needs source_profile or a known credential_source"),
                };
            return await tokens.WithIdentityAsync(identity ?? throw Error(name, "the source of role_arn has no credentials"), role, profile, cancellationToken).ConfigureAwait(false);
        }
        if (Get("aws_access_key_id").Length > 0 && Get("aws_secret_access_key").Length > 0)
            return new AwsCredentials(Get("aws_access_key_id"), Get("aws_secret_access_key"), Get("aws_session_token"), null);
        if (Get("sso_account_id").Length > 0)
            return await WithSignOnAsync(name, profile, cancellationToken).ConfigureAwait(false);
        if (Get("credential_process") is { Length: > 0 } command)
            return await FromProgramAsync(name, command, cancellationToken).ConfigureAwait(false);
        return null;
    }

    /// <summary>Asks with the token that <c>aws sso login</c> left in the user's directory.</summary>
    private async Task<AwsCredentials> WithSignOnAsync(string name, IReadOnlyDictionary<string, string> profile, CancellationToken cancellationToken)
    {
        var session = profile.GetValueOrDefault("sso_session") ?? "";
        var settings = session.Length == 0 ? profile : profiles.FindSession(session) ?? throw Error(name, $"there is no [sso-session {session}]");
        var startUrl = settings.GetValueOrDefault("sso_start_url") ?? "";
        var region = settings.GetValueOrDefault("sso_region") ?? throw Error(name, "sso_region is missing");
        // The name of the file is part of the tools' format; nothing is secured by it.
#pragma warning disable CA5350
        var file = Convert.ToHexStringLower(SHA1.HashData(Encoding.UTF8.GetBytes(session.Length > 0 ? session : startUrl)));
#pragma warning restore CA5350
        var path = Path.Combine(profiles.Home, ".aws", "sso", "cache", file + ".json");
        string token;
        try
        {
            using var cached = JsonDocument.Parse(await File.ReadAllBytesAsync(path, cancellationToken).ConfigureAwait(false));
            token = cached.RootElement.GetProperty("accessToken").GetString() ?? "";
            if (CredentialJson.ParseTime(cached.RootElement.GetProperty("expiresAt").GetString() ?? "") is not { } end || end <= time.GetUtcNow())
                throw Error(name, "the single sign-on has ended; run aws sso login");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException && e is not TransferException)
        {
            throw Error(name, $"no single sign-on ({path}: {e.Message}); run aws sso login");
        }
        var portal = environment("AWS_ENDPOINT_URL_SSO") is { Length: > 0 } given ? given.TrimEnd('/') : $"https://portal.sso.{region}.{S3Endpoint.Domain(region)}";
        var query = $"role_name={UrlEncoding.Encode(profile.GetValueOrDefault("sso_role_name") ?? "", "")}&account_id={UrlEncoding.Encode(profile["sso_account_id"], "")}";
        var request = new StoreRequest(HttpMethod.Get, $"{portal}/federation/credentials?{query}") { Headers = [new("X-Amz-Sso_bearer_token", token)] };
        var service = new StoreConnection(http, new PlainProtocol("single sign-on"), TransferPolicy.Default, time);
        return await service.ReadAsync(request, (_, json) => OfRole(name, json), cancellationToken).ConfigureAwait(false);
    }

    private static AwsCredentials OfRole(string profile, byte[] json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var role = document.RootElement.GetProperty("roleCredentials");
            return new AwsCredentials(
                role.GetProperty("accessKeyId").GetString() ?? "", role.GetProperty("secretAccessKey").GetString() ?? "", role.GetProperty("sessionToken").GetString() ?? "",
                DateTimeOffset.FromUnixTimeMilliseconds(role.GetProperty("expiration").GetInt64()));
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw Error(profile, "the single sign-on portal gave no credentials: " + e.Message);
        }
    }

    /// <summary>Runs a helper program; it writes a document to its output.</summary>
    private static async Task<AwsCredentials> FromProgramAsync(string name, string command, CancellationToken cancellationToken)
    {
        using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", command]) { RedirectStandardOutput = true, RedirectStandardError = true })
            ?? throw Error(name, "credential_process did not start");
        try
        {
            using var output = new MemoryStream();
            var errors = process.StandardError.ReadToEndAsync(cancellationToken);
            await process.StandardOutput.BaseStream.CopyToAsync(output, cancellationToken).ConfigureAwait(false);
            var error = await errors.ConfigureAwait(false);
            await process.WaitForExitAsync(cancellationToken).ConfigureAwait(false);
            return process.ExitCode == 0
                ? CredentialJson.Parse(output.ToArray(), "credential_process")
                : throw Error(name, $"credential_process ended with {process.ExitCode}: {error.Trim()}");
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    private static TransferException Error(string profile, string what) => new($"get identity: get credentials: profile {profile}: {what}");
}
