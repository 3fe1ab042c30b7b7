using BuildKit.RemoteCache.Backends.S3.Credentials;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>Where an s3 cache finds its credentials when none are given (spec 04 §8.5).</summary>
public sealed class AwsCredentialTests : IDisposable
{
    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("aws-");

    private readonly Dictionary<string, string> _environment;

    public AwsCredentialTests() =>
        _environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HOME"] = _home.FullName, ["AWS_EC2_METADATA_DISABLED"] = "true" };

    public void Dispose() => _home.Delete(recursive: true);

    [Fact]
    public async Task Nothing_anywhere_is_no_identity() => Assert.Null(await FindAsync());

    [Fact]
    public async Task Keys_in_the_environment_go_before_the_default_profile()
    {
        Write("credentials", "[default]\naws_access_key_id = FILE\naws_secret_access_key = s\n");
        Set("AWS_ACCESS_KEY_ID", "ENV", "AWS_SECRET_ACCESS_KEY", "es", "AWS_SESSION_TOKEN", "et");
        Assert.Equal(new AwsCredentials("ENV", "es", "et", null), await FindAsync());
        Set("AWS_PROFILE", "default");
        Assert.Equal(new AwsCredentials("FILE", "s", "", null), await FindAsync());
    }

    [Fact]
    public async Task Both_files_make_a_profile_and_the_credentials_file_wins()
    {
        Write("config", """
            # comment
            [default]
            aws_access_key_id = CONFIG
            aws_secret_access_key = cs
            s3 =
              aws_access_key_id = NESTED
            [profile ci]
            aws_access_key_id = CI ; comment
            aws_secret_access_key = secret # comment
            [other]
            aws_access_key_id = X
            aws_secret_access_key = y
            """);
        Assert.Equal(new AwsCredentials("CONFIG", "cs", "", null), await FindAsync());
        Write("credentials", "[default]\naws_secret_access_key=fs\naws_session_token=ft\n[ci]\naws_session_token=ct\n");
        Assert.Equal(new AwsCredentials("CONFIG", "fs", "ft", null), await FindAsync());
        Set("AWS_PROFILE", "ci");
        Assert.Equal(new AwsCredentials("CI", "secret", "ct", null), await FindAsync());
        Set("AWS_PROFILE", "other");
        Assert.Equal("get identity: get credentials: failed to get shared config profile, other", (await Assert.ThrowsAsync<TransferException>(FindAsync)).Message);
    }

    [Fact]
    public async Task The_environment_names_other_files()
    {
        var file = Path.Combine(_home.FullName, "elsewhere");
        await File.WriteAllTextAsync(file, "[default]\naws_access_key_id=E\naws_secret_access_key=s\n");
        Set("AWS_SHARED_CREDENTIALS_FILE", file);
        Assert.Equal("E", (await FindAsync())!.AccessKeyId);
    }

    [Fact]
    public async Task A_helper_program_gives_keys()
    {
        Write("config", """
            [default]
            credential_process = printf '{"Version":1,"AccessKeyId":"P","SecretAccessKey":"ps","SessionToken":"pt","Expiration":"2999-01-01T00:00:00Z"}'
            [profile broken]
            credential_process = echo no >&2; exit 3
            """);
        Assert.Equal(new AwsCredentials("P", "ps", "pt", new DateTimeOffset(2999, 1, 1, 0, 0, 0, TimeSpan.Zero)), await FindAsync());
        Set("AWS_PROFILE", "broken");
        Assert.Equal("get identity: get credentials: profile broken: credential_process ended with 3: no", (await Assert.ThrowsAsync<TransferException>(FindAsync)).Message);
    }

    [Fact]
    public async Task A_web_identity_token_becomes_a_role_and_is_renewed_before_it_ends()
    {
        var forms = new System.Collections.Concurrent.ConcurrentQueue<string>();
        var serial = 0;
        await using var sts = await StubServer.StartAsync(async (context, _) =>
        {
            using var reader = new StreamReader(context.Request.Body);
            forms.Enqueue(await reader.ReadToEndAsync() + " " + context.Request.Headers.Authorization);
            await context.Response.WriteAsync(Sts($"WEB{++serial}", serial == 1 ? DateTimeOffset.UtcNow.AddMinutes(4) : DateTimeOffset.UtcNow.AddHours(1)));
        });
        var file = Path.Combine(_home.FullName, "token");
        await File.WriteAllTextAsync(file, "jwt+1\n");
        Set("AWS_WEB_IDENTITY_TOKEN_FILE", file, "AWS_ROLE_ARN", "arn:aws:iam::1:role/r", "AWS_ROLE_SESSION_NAME", "me", "AWS_ENDPOINT_URL_STS", "http://" + sts.Host);
        var chain = Chain();
        Assert.Equal("WEB1", (await chain.GetAsync(default))!.AccessKeyId);
        Assert.Equal("WEB2", (await chain.GetAsync(default))!.AccessKeyId);
        Assert.Equal("WEB2", (await chain.GetAsync(default))!.AccessKeyId);
        Assert.Equal(
            ["Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=me&WebIdentityToken=jwt%2B1 "],
            forms.Distinct());
    }

    [Fact]
    public async Task A_role_is_taken_on_with_the_keys_of_another_profile()
    {
        var authorization = "";
        await using var sts = await StubServer.StartAsync(async (context, _) =>
        {
            authorization = context.Request.Headers.Authorization.ToString();
            await context.Response.WriteAsync(Sts("ROLE", DateTimeOffset.UtcNow.AddHours(1)));
        });
        Set("AWS_ENDPOINT_URL_STS", "http://" + sts.Host, "AWS_PROFILE", "deploy");
        Write("config", "[profile deploy]\nrole_arn = arn:r\nsource_profile = base\nexternal_id = x\n[profile mfa]\nrole_arn = a\nsource_profile = base\nmfa_serial = m\n");
        Write("credentials", "[base]\naws_access_key_id = BASE\naws_secret_access_key = bs\n");
        Assert.Equal("ROLE", (await FindAsync())!.AccessKeyId);
        Assert.Matches("^AWS4-HMAC-SHA256 Credential=BASE/[0-9]{8}/eu-west-9/sts/aws4_request, SignedHeaders=content-type;host;", authorization);
        Set("AWS_PROFILE", "mfa");
        Assert.Contains("mfa_serial", (await Assert.ThrowsAsync<TransferException>(FindAsync)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_container_has_a_role()
    {
        await using var service = await StubServer.StartAsync((context, _) => context.Response.WriteAsync(
            $$"""{"AccessKeyId":"{{context.Request.Headers.Authorization}}","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"""));
        Set("AWS_CONTAINER_CREDENTIALS_FULL_URI", $"http://{service.Host}/role", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "SECRET");
        Assert.Equal("SECRET", (await FindAsync())!.AccessKeyId);
        Set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/role");
        Assert.Contains("invalid endpoint host", (await Assert.ThrowsAsync<TransferException>(FindAsync)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_machine_has_a_role()
    {
        await using var service = await StubServer.StartAsync(async (context, _) =>
        {
            var answer = (context.Request.Method, context.Request.Path.Value, context.Request.Headers["X-Aws-Ec2-Metadata-Token"].ToString()) switch
            {
                ("PUT", "/latest/api/token", "") => "T",
                ("GET", "/latest/meta-data/iam/security-credentials/", "T") => "builder\n",
                ("GET", "/latest/meta-data/iam/security-credentials/builder", "T") =>
                    """{"Code":"Success","AccessKeyId":"EC2","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}""",
                _ => "",
            };
            context.Status(answer.Length > 0 ? 200 : 401);
            await context.Response.WriteAsync(answer);
        });
        Set("AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://" + service.Host);
        Assert.Equal("EC2", (await FindAsync())!.AccessKeyId);
        Set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
        Assert.Null(await FindAsync());
    }

    [Fact]
    public async Task A_single_sign_on_gives_the_role_of_its_account()
    {
        await using var portal = await StubServer.StartAsync((context, _) => context.Response.WriteAsync(
            $$$"""{"roleCredentials":{"accessKeyId":"{{{context.Request.Query["role_name"]}}}-{{{context.Request.Query["account_id"]}}}-{{{context.Request.Headers["x-amz-sso_bearer_token"]}}}","secretAccessKey":"s","sessionToken":"t","expiration":32472144000000}}"""));
        Write("config", "[default]\nsso_session = corp\nsso_account_id = 12\nsso_role_name = Dev\n[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = us-east-1\n");
        Set("AWS_ENDPOINT_URL_SSO", "http://" + portal.Host);
        Assert.Contains("run aws sso login", (await Assert.ThrowsAsync<TransferException>(FindAsync)).Message, StringComparison.Ordinal);
        var file = Path.Combine("sso", "cache", Convert.ToHexStringLower(System.Security.Cryptography.SHA1.HashData("corp"u8)) + ".json");
        Write(file, """{"accessToken":"tok","expiresAt":"2999-01-01T00:00:00Z"}""");
        Assert.Equal("Dev-12-tok", (await FindAsync())!.AccessKeyId);
        Write(file, """{"accessToken":"tok","expiresAt":"2001-01-01T00:00:00Z"}""");
        Assert.Contains("has ended", (await Assert.ThrowsAsync<TransferException>(FindAsync)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Keys_that_were_refused_are_looked_for_again()
    {
        const string File = "[default]\naws_access_key_id = A\naws_secret_access_key = s\naws_session_token = ";
        Write("credentials", File + "one\n");
        var chain = Chain();
        Assert.Equal("one", (await chain.GetAsync(default))!.SessionToken);
        Assert.False(await chain.RenewAsync(new AwsIdentity("A", "one"), default));
        Write("credentials", File + "two\n");
        Assert.Equal("one", (await chain.GetAsync(default))!.SessionToken);
        Assert.True(await chain.RenewAsync(new AwsIdentity("A", "one"), default));
        // Who was refused with the old ones finds that they were replaced.
        Assert.True(await chain.RenewAsync(new AwsIdentity("A", "one"), default));
        Assert.Equal("two", (await chain.GetAsync(default))!.SessionToken);
        Assert.False(await new StaticAwsCredentials(new AwsCredentials("A", "s", "", null)).RenewAsync(new AwsIdentity("A", ""), default));
    }

    private static string Sts(string id, DateTimeOffset end) =>
        $"<R xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{end:yyyy-MM-dd'T'HH:mm:ss'Z'}</Expiration></Credentials></R>";

    private AwsCredentialChain Chain() => new(_environment.GetValueOrDefault, StoreConnection.CreateInvoker(), "eu-west-9", TimeProvider.System);

    private async Task<AwsCredentials?> FindAsync() => await Chain().GetAsync(default);

    private void Set(params string[] pairs)
    {
        for (var i = 0; i < pairs.Length; i += 2)
            _environment[pairs[i]] = pairs[i + 1];
    }

    private void Write(string name, string text)
    {
        var path = Path.Combine(_home.FullName, ".aws", name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }
}
