using System.Formats.Tar;
using System.IO.Compression;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using Microsoft.AspNetCore.Http;

namespace BuildKit.IntegrationTests.Sources;

/// <summary><c>ADD</c> of addresses on the web.</summary>
public sealed class HttpTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    private async Task<string> AddAsync(TempDirectory output, string url, string flags = "", Buildctl? client = null)
    {
        using var context = new ContextDirectory($"FROM scratch\nADD {flags} {url} /r/\n");
        (await (client ?? Client).BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        return output.Path + "/o/r";
    }

    private async Task<string> FailAsync(string url, string flags = "", Buildctl? client = null)
    {
        using var context = new ContextDirectory($"FROM scratch\nADD {flags} {url} /r/\n");
        return (await (client ?? Client).BuildPlainAsync(context)).Failed().Errors;
    }

    private static byte[] Unique() => Encoding.UTF8.GetBytes(Guid.NewGuid().ToString("N"));

    [EndToEndFact]
    public async Task A_file_is_fetched_once_and_asked_about_later()
    {
        var file = new WebFile(Unique());
        await using var server = await WebServer.StartAsync(file.AnswerAsync);
        using var output = new TempDirectory();
        var path = await AddAsync(output, server.Url + "/dir/f.txt?x=1") + "/f.txt";
        Assert.Equal(file.Content, await File.ReadAllBytesAsync(path));
        Assert.Equal(0x180u, LinuxFile.Lstat(path).Permissions);
        Assert.Equal(new UnixTime(1445412480, 0), LinuxFile.Lstat(path).Mtime);
        var first = Assert.Single(server.Requests);
        Assert.Equal(("GET", "/dir/f.txt?x=1", "", "gzip", "buildkit/v0.20"), (first.Method, first.Path, first.IfNoneMatch, first.AcceptEncoding, first.UserAgent));
        server.Forget();
        using var context = new ContextDirectory($"FROM scratch\nADD {server.Url}/dir/f.txt?x=1 /r/\n");
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        var second = Assert.Single(server.Requests);
        Assert.Equal(("HEAD", "\"one\"", "gzip"), (second.Method, second.IfNoneMatch, second.AcceptEncoding));
        server.Forget();
        (file.Content, file.Tag) = (Unique(), "W/\"two\"");
        (await Client.BuildAsync(context)).Succeeded().AssertAdded();
        Assert.Equal(["HEAD", "GET"], server.Requests.Select(request => request.Method));
        server.Forget();
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        Assert.Contains(Assert.Single(server.Requests).IfNoneMatch, new[] { "\"one\", \"two\"", "\"two\", \"one\"" });
    }

    [EndToEndFact]
    public async Task A_server_that_forgets_the_tag_or_refuses_HEAD_is_understood()
    {
        var content = Unique();
        var answersHead = true;
        await using var server = await WebServer.StartAsync(async context =>
        {
            if (context.Request.Method == "HEAD" && !answersHead)
            {
                context.Response.StatusCode = 405;
            }
            else if (context.Request.Headers.IfNoneMatch == "\"t\"")
            {
                context.Response.StatusCode = 304; // without saying of what
            }
            else
            {
                context.Response.Headers.ETag = "\"t\"";
                await context.Response.Body.WriteAsync(content);
            }
        });
        using var context = new ContextDirectory($"FROM scratch\nADD {server.Url}/f /r/\n");
        (await Client.BuildAsync(context)).Succeeded().AssertAdded();
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        answersHead = false;
        server.Forget();
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        Assert.Equal(["HEAD", "GET"], server.Requests.Select(request => request.Method));
    }

    [EndToEndFact]
    public async Task Without_a_tag_the_file_is_fetched_each_time_and_kept_once()
    {
        var file = new WebFile(Unique()) { Tag = null };
        await using var server = await WebServer.StartAsync(file.AnswerAsync);
        using var context = new ContextDirectory($"FROM scratch\nADD {server.Url}/f /r/\n");
        (await Client.BuildAsync(context)).Succeeded();
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        Assert.Equal(["GET", "GET", "GET"], server.Requests.Select(request => request.Method));
        var usage = (await Client.RunAsync(["du", "-v"])).Succeeded().Text;
        Assert.Equal(2, usage.Split($"http url {server.Url}/f\n").Length);
        // The same bytes of another time are another file, and the copy of it is the same.
        file.LastModified = null;
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        Assert.Equal(3, (await Client.RunAsync(["du", "-v"])).Succeeded().Text.Split($"http url {server.Url}/f\n").Length);
    }

    [EndToEndFact]
    public async Task A_right_checksum_needs_no_question_and_a_wrong_one_fails()
    {
        var file = new WebFile(Unique());
        await using var server = await WebServer.StartAsync(file.AnswerAsync);
        var digest = Digest.Sha256(file.Content);
        using var output = new TempDirectory();
        await AddAsync(output, server.Url + "/f", "--checksum=" + digest);
        using var context = new ContextDirectory($"FROM scratch\nADD --checksum={digest} {server.Url}/f /r/\n");
        server.Forget();
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        Assert.Empty(server.Requests);
        var other = Digest.Sha256("other");
        Assert.Contains($"digest mismatch {digest}: {other}", await FailAsync(server.Url + "/f", "--checksum=" + other), StringComparison.Ordinal);
        var long512 = "sha512:" + Convert.ToHexStringLower(SHA512.HashData(file.Content));
        using var longer = new TempDirectory();
        await AddAsync(longer, server.Url + "/f", "--checksum=" + long512);
    }

    [EndToEndFact]
    public async Task Mode_owner_and_unpacking_are_as_asked_for()
    {
        using var tar = new MemoryStream();
        await using (var gzip = new GZipStream(tar, CompressionLevel.Fastest, leaveOpen: true))
        await using (var writer = new TarWriter(gzip, TarEntryFormat.Pax))
        {
            await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, "in/x") { DataStream = new MemoryStream("x"u8.ToArray()), Mode = (UnixFileMode)0x1A4 });
        }
        var file = new WebFile(tar.ToArray());
        await using var server = await WebServer.StartAsync(file.AnswerAsync);
        using var plain = new ContextDirectory($"""
            FROM {fixture.Base}
            ADD {server.Url}/a.tar.gz /r/
            ADD --chmod=4711 --chown=5:6 {server.Url}/a.tar.gz /s/
            RUN test "$(stat -c '%a %u:%g' /r/a.tar.gz)" = '600 0:0' && test "$(stat -c '%a %u:%g' /s/a.tar.gz)" = '4711 5:6'
            """);
        (await Client.BuildAsync(plain)).Succeeded();
        using var unpacked = new TempDirectory();
        Assert.Equal("x", await File.ReadAllTextAsync(await AddAsync(unpacked, server.Url + "/a.tar.gz", "--unpack") + "/in/x"));
        using var local = new ContextDirectory("FROM scratch\nADD --unpack=false a.tar.gz /r/\nADD a.tar.gz /s/\n").Write("a.tar.gz", tar.ToArray());
        using var output = new TempDirectory();
        (await Client.BuildAsync(local, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.True(File.Exists(output.Path + "/o/r/a.tar.gz"));
        Assert.True(File.Exists(output.Path + "/o/s/in/x"));
    }

    [EndToEndFact]
    public async Task Redirects_and_passwords_in_the_address_are_followed()
    {
        var content = Unique();
        await using var target = await WebServer.StartAsync(context => context.Response.Body.WriteAsync(content).AsTask());
        await using var server = await WebServer.StartAsync(async context =>
        {
            if (context.Request.Headers.Authorization != "Basic " + Convert.ToBase64String("us er:pass"u8))
                context.Response.StatusCode = 401;
            else if (context.Request.Path == "/moved")
                context.Response.Redirect(target.Url + "/there", permanent: false, preserveMethod: true);
            else if (context.Request.Path == "/loop")
                context.Response.Redirect(context.Request.Scheme + "://us%20er:pass@" + context.Request.Host + "/loop");
            else
                await context.Response.WriteAsync("direct");
        });
        Assert.Contains("invalid response status 401", await FailAsync(server.Url + "/moved"), StringComparison.Ordinal);
        var url = server.Url.Replace("://", "://us%20er:pass@", StringComparison.Ordinal);
        using var output = new TempDirectory();
        Assert.Equal(content, await File.ReadAllBytesAsync(await AddAsync(output, url + "/moved") + "/moved"));
        Assert.All(target.Requests, request => Assert.Equal("", request.Authorization));
        Assert.Contains("stopped after 10 redirects", await FailAsync(url + "/loop"), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task What_goes_wrong_is_told_with_the_address()
    {
        await using var server = await WebServer.StartAsync(context =>
        {
            context.Response.StatusCode = 404;
            return Task.CompletedTask;
        });
        Assert.Contains("failed to load cache key: invalid response status 404", await FailAsync(server.Url + "/none"), StringComparison.Ordinal);
        Assert.Contains("invalid response status 404", await FailAsync(server.Url + "/none", "--checksum=" + Digest.Sha256("x")), StringComparison.Ordinal);
        using var cutting = new TcpListener(System.Net.IPAddress.Loopback, 0);
        cutting.Start();
        var answering = CutAsync(cutting);
        var cut = $"http://{cutting.LocalEndpoint}/cut";
        Assert.Contains($"failed to read {cut}: unexpected EOF", await FailAsync(cut), StringComparison.Ordinal);
        await answering;
        var port = DockerRegistry.FreePort();
        Assert.Contains($"Get \"http://127.0.0.1:{port}/x\": dial tcp 127.0.0.1:{port}: connect: connection refused", await FailAsync($"http://127.0.0.1:{port}/x"), StringComparison.Ordinal);
        Assert.DoesNotContain("http url " + server.Url, (await Client.RunAsync(["du", "-v"])).Succeeded().Text, StringComparison.Ordinal);
    }

    /// <summary>Answers one request with less than it promises.</summary>
    private static async Task CutAsync(TcpListener listener)
    {
        using var connection = await listener.AcceptSocketAsync();
        await connection.ReceiveAsync(new byte[4096]);
        await connection.SendAsync("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfew bytes"u8.ToArray());
        connection.Shutdown(SocketShutdown.Send);
        await connection.ReceiveAsync(new byte[1]);
    }

    [EndToEndFact]
    public async Task A_slow_server_is_waited_for_and_a_build_that_is_given_up_lets_go_of_it()
    {
        var content = Unique();
        var released = new TaskCompletionSource();
        var abandoned = new TaskCompletionSource();
        await using var server = await WebServer.StartAsync(async context =>
        {
            await context.Response.Body.WriteAsync(content);
            await context.Response.Body.FlushAsync();
            if (context.Request.Path == "/slow")
                await released.Task;
            else
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => abandoned.TrySetResult(), TaskScheduler.Default);
            await context.Response.Body.WriteAsync(content);
        });
        using var slow = new ContextDirectory($"FROM scratch\nADD {server.Url}/slow /r/\n");
        using var output = new TempDirectory();
        var build = Client.BuildAsync(slow, "--output", $"type=local,dest={output.Path}/o");
        while (server.Requests.Count == 0)
            await Task.Delay(20);
        released.SetResult();
        (await build).Succeeded();
        byte[] twice = [.. content, .. content];
        Assert.Equal(twice, await File.ReadAllBytesAsync(output.Path + "/o/r/slow"));
        using var endless = new ContextDirectory($"FROM scratch\nADD {server.Url}/endless /r/\n");
        await using var given = Client.Start(endless);
        while (server.Requests.Count == 1)
            await Task.Delay(20);
        await given.InterruptAsync();
        Assert.NotEqual(0, await given.EndAsync());
        await abandoned.Task.WaitAsync(TimeSpan.FromMinutes(1));
    }

    [EndToEndFact]
    public async Task A_compressed_transfer_is_kept_as_the_file_it_is()
    {
        var content = Unique();
        await using var server = await WebServer.StartAsync(async context =>
        {
            context.Response.Headers.ContentEncoding = "gzip";
            context.Response.Headers.ContentDisposition = "attachment; filename=\"x/yy.bin\"";
            await using var gzip = new GZipStream(context.Response.Body, CompressionLevel.Fastest);
            await gzip.WriteAsync(content);
        });
        using var output = new TempDirectory();
        Assert.Equal(content, await File.ReadAllBytesAsync(await AddAsync(output, server.Url + "/f") + "/f"));
    }

    [EndToEndFact]
    public async Task A_server_is_trusted_by_its_certificate_alone()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=127.0.0.1", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(System.Net.IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        var file = new WebFile(Unique());
        await using var server = await WebServer.StartAsync(file.AnswerAsync, certificate);
        Assert.Contains($"Get \"{server.Url}/f\": ", await FailAsync(server.Url + "/f"), StringComparison.Ordinal);
        using var trusted = new ContextDirectory().Write("ca.pem", certificate.ExportCertificatePem());
        await using var daemon = await DaemonProcess.StartAsync(environment: new Dictionary<string, string?>(StringComparer.Ordinal) { ["SSL_CERT_FILE"] = trusted["ca.pem"] });
        using var output = new TempDirectory();
        Assert.Equal(file.Content, await File.ReadAllBytesAsync(await AddAsync(output, server.Url + "/f", client: new Buildctl(daemon.Address)) + "/f"));
    }
}
