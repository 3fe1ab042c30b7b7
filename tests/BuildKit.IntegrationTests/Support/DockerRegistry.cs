using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using BuildKit.Oci;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.Support;

/// <summary>How a registry wants to be authorized.</summary>
public enum DockerRegistryAuth
{
    /// <summary>Open to all.</summary>
    None,
    /// <summary>User and password with every request.</summary>
    Basic,
    /// <summary>Tokens from a server of the test.</summary>
    Token,
}

/// <summary>
/// A real <c>docker-registry</c> on a free loopback port with its own storage, for one test. User <see cref="User"/>, password
/// <see cref="Password"/>. Disposing stops it and removes everything.
/// </summary>
public sealed class DockerRegistry : IAsyncDisposable
{
    public const string User = "usr";
    public const string Password = "pass";

    /// <summary>Name of the registry at its token server.</summary>
    public const string Service = "reg.test";

    private const string Issuer = "issuer.test";

    private readonly string _directory;
    private Process? _process;
    private WebApplication? _tokenServer;
    private X509Certificate2? _certificate;
    private ECDsa? _key;

    private DockerRegistry(string directory, int port) => (_directory, Host) = (directory, $"127.0.0.1:{port}");

    /// <summary><c>127.0.0.1:port</c>.</summary>
    public string Host { get; }

    /// <summary>Where the registry keeps its blobs.</summary>
    public string StoragePath => Path.Combine(_directory, "storage");

    /// <summary>Address of the token server.</summary>
    public string TokenRealm { get; private set; } = "";

    /// <summary>Scopes asked of the token server, in order.</summary>
    public List<string> TokenRequests { get; } = [];

    /// <summary>Path of a blob's bytes in the storage.</summary>
    public string BlobPath(string digest)
    {
        var hex = digest["sha256:".Length..];
        return Path.Combine(StoragePath, "docker", "registry", "v2", "blobs", "sha256", hex[..2], hex, "data");
    }

    /// <summary>The manifest behind a reference of this (open) registry, as it is served.</summary>
    public async Task<byte[]> GetManifestAsync(string reference)
    {
        var name = reference[(Host.Length + 1)..];
        var colon = name.LastIndexOf(':');
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"http://{Host}/v2/{name[..colon]}/manifests/{name[(colon + 1)..]}");
        foreach (var type in new[] { MediaTypes.OciIndex, MediaTypes.OciManifest, MediaTypes.DockerManifestList, MediaTypes.DockerManifest })
            request.Headers.TryAddWithoutValidation("Accept", type);
        using var answer = await client.SendAsync(request);
        return await answer.EnsureSuccessStatusCode().Content.ReadAsByteArrayAsync();
    }

    /// <summary>Starts a registry and waits until it answers.</summary>
    public static async Task<DockerRegistry> StartAsync(DockerRegistryAuth auth = DockerRegistryAuth.None, CancellationToken cancellationToken = default)
    {
        var registry = new DockerRegistry(Directory.CreateTempSubdirectory("registry-").FullName, FreePort());
        try
        {
            await registry.RunAsync(auth, cancellationToken);
            return registry;
        }
        catch
        {
            await registry.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is { HasExited: false })
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }
        _process?.Dispose();
        if (_tokenServer is not null)
            await _tokenServer.DisposeAsync();
        _certificate?.Dispose();
        _key?.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private async Task RunAsync(DockerRegistryAuth auth, CancellationToken cancellationToken)
    {
        var configuration = new StringBuilder($"""
            version: 0.1
            log: {"{"}level: error{"}"}
            storage:
              filesystem: {"{"}rootdirectory: {StoragePath}{"}"}
              delete: {"{"}enabled: true{"}"}
            http: {"{"}addr: "{Host}"{"}"}
            validation: {"{"}manifests: {"{"}urls: {"{"}allow: ["^http://127"]{"}"}{"}"}{"}"}

            """);
        if (auth == DockerRegistryAuth.Basic)
        {
            var file = Path.Combine(_directory, "htpasswd");
            await File.WriteAllTextAsync(file, await OutputOfAsync("htpasswd", ["-nbB", User, Password], cancellationToken), cancellationToken);
            configuration.Append($"auth: {{htpasswd: {{realm: basic-realm, path: {file}}}}}\n");
        }
        else if (auth == DockerRegistryAuth.Token)
        {
            var bundle = Path.Combine(_directory, "token.crt");
            var realm = TokenRealm = await StartTokenServerAsync(bundle, cancellationToken);
            configuration.Append($"auth: {{token: {{realm: \"{realm}\", service: {Service}, issuer: {Issuer}, rootcertbundle: {bundle}}}}}\n");
        }
        var path = Path.Combine(_directory, "config.yml");
        await File.WriteAllTextAsync(path, configuration.ToString(), cancellationToken);
        _process = Process.Start(new ProcessStartInfo("docker-registry", ["serve", path]) { RedirectStandardError = true, RedirectStandardOutput = true })
            ?? throw new InvalidOperationException("docker-registry did not start");
        // Both streams are read at the same time.
        var errors = new ConcurrentQueue<string?>();
        _process.ErrorDataReceived += (_, line) => errors.Enqueue(line.Data);
        _process.OutputDataReceived += (_, line) => errors.Enqueue(line.Data);
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        using var client = new HttpClient();
        while (true)
        {
            try
            {
                using var answer = await client.GetAsync($"http://{Host}/v2/", cancellationToken);
                return;
            }
            catch (HttpRequestException) when (!_process.HasExited)
            {
                await Task.Delay(20, cancellationToken);
            }
            catch (HttpRequestException)
            {
                throw new InvalidOperationException($"docker-registry ended at start: {string.Join('\n', errors)}");
            }
        }
    }

    private async Task<string> StartTokenServerAsync(string bundle, CancellationToken cancellationToken)
    {
        _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=" + Issuer, _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        _certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        await File.WriteAllTextAsync(bundle, _certificate.ExportCertificatePem(), cancellationToken);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        _tokenServer = builder.Build();
        _tokenServer.Run(GrantAsync);
        await _tokenServer.StartAsync(cancellationToken);
        return _tokenServer.Urls.First() + "/token";
    }

    /// <summary>Grants what is asked to the known user, and reading to everyone else.</summary>
    private async Task GrantAsync(HttpContext context)
    {
        string[] scopes;
        bool isKnown;
        if (context.Request.Method == "POST")
        {
            var form = await context.Request.ReadFormAsync();
            scopes = form["scope"].ToString().Split(' ', StringSplitOptions.RemoveEmptyEntries);
            isKnown = form["username"] == User && form["password"] == Password;
            if (!isKnown)
            {
                context.Response.StatusCode = 401;
                return;
            }
        }
        else
        {
            scopes = [.. context.Request.Query["scope"].OfType<string>()];
            var authorization = context.Request.Headers.Authorization.ToString();
            isKnown = authorization == "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{User}:{Password}"));
            if (!isKnown && authorization.Length > 0)
            {
                context.Response.StatusCode = 401;
                return;
            }
        }
        lock (TokenRequests)
            TokenRequests.Add(string.Join(' ', scopes));
        var access = scopes.Select(scope => scope.Split(':')).Select(parts =>
        {
            var actions = parts[^1].Split(',').Where(action => isKnown || action == "pull").Select(action => $"\"{action}\"");
            return $$"""{"type":"{{parts[0]}}","name":"{{string.Join(':', parts[1..^1])}}","actions":[{{string.Join(',', actions)}}]}""";
        });
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var header = $$"""{"typ":"JWT","alg":"ES256","x5c":["{{Convert.ToBase64String(_certificate!.RawData)}}"]}""";
        var claims = $$"""{"iss":"{{Issuer}}","sub":"{{User}}","aud":"{{Service}}","exp":{{now + 300}},"nbf":{{now - 60}},"iat":{{now}},"jti":"{{Guid.NewGuid():N}}","access":[{{string.Join(',', access)}}]}""";
        var signed = Url(Encoding.UTF8.GetBytes(header)) + "." + Url(Encoding.UTF8.GetBytes(claims));
        var signature = _key!.SignData(Encoding.ASCII.GetBytes(signed), HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync($$"""{"access_token":"{{signed}}.{{Url(signature)}}","token":"{{signed}}.{{Url(signature)}}","expires_in":300}""");
    }

    private static string Url(byte[] bytes) => Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_');

    /// <summary>A port nobody listens on.</summary>
    internal static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static async Task<string> OutputOfAsync(string program, string[] arguments, CancellationToken cancellationToken)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })
            ?? throw new InvalidOperationException($"{program} did not start");
        var output = await process.StandardOutput.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} failed with {process.ExitCode}");
    }
}
