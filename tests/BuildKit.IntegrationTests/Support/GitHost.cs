using System.Diagnostics;
using System.Globalization;
using System.Text;
using BuildKit.Linux;
using Microsoft.AspNetCore.Http;

namespace BuildKit.IntegrationTests.Support;

/// <summary>
/// Repositories of a test, served by git itself: over HTTP by <c>git http-backend</c>, and by <c>git daemon</c> where asked.
/// </summary>
public sealed class GitHost : IAsyncDisposable
{
    private const string Backend = "/usr/lib/git-core/git-http-backend";
    private readonly string _directory = Directory.CreateTempSubdirectory("git-").FullName;
    private WebServer? _web;
    private Process? _daemon;
    private readonly TaskCompletionSource _abandoned = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _fetches;

    private GitHost()
    {
    }

    /// <summary>Address of the HTTP server.</summary>
    public string Url => _web!.Url;

    /// <summary>Directory of the repositories.</summary>
    public string Root => _directory;

    /// <summary>The HTTP requests.</summary>
    public IReadOnlyList<WebRequest> Requests => _web!.Requests;

    /// <summary>How often objects were fetched over HTTP.</summary>
    public int Fetches => _fetches;

    /// <summary>When set, who asks without this Authorization header is turned away.</summary>
    public string? Authorization { get; set; }

    /// <summary>Whether the HTTP server knows only the protocol in which a client must name what it fetches.</summary>
    public bool SpeaksOldProtocol { get; set; }

    /// <summary>Whether fetches are left without an answer.</summary>
    public bool HoldsFetches { get; set; }

    /// <summary>Completes when a client whose fetch was held has gone away.</summary>
    public Task Abandoned => _abandoned.Task.WaitAsync(TimeSpan.FromMinutes(1));

    /// <summary>Starts the HTTP server.</summary>
    public static async Task<GitHost> StartAsync()
    {
        var host = new GitHost();
        host._web = await WebServer.StartAsync(host.AnswerAsync);
        return host;
    }

    /// <summary>Starts <c>git daemon</c> and gives its address.</summary>
    public async Task<string> StartDaemonAsync()
    {
        var port = DockerRegistry.FreePort();
        _daemon = Programs.Start(
            "/usr/lib/git-core/git-daemon",
            ["--reuseaddr", "--listen=127.0.0.1", $"--port={port.ToString(CultureInfo.InvariantCulture)}", "--base-path=" + _directory, "--export-all", _directory],
            Environment);
        var url = $"git://127.0.0.1:{port}";
        for (var tries = 0; (await Programs.RunAsync("git", ["ls-remote", url + "/none.git"], Environment)).Errors.Contains("Connection refused", StringComparison.Ordinal); tries++)
        {
            Assert.True(tries < 200 && !_daemon.HasExited, "git daemon does not answer");
            await Task.Delay(20);
        }
        return url;
    }

    /// <summary>A new repository with one commit on <c>main</c>, served as <c>NAME.git</c>.</summary>
    public async Task<GitWork> CreateAsync(string name, params (string Path, string Text)[] files)
    {
        var bare = Path.Combine(_directory, name + ".git");
        var work = new GitWork(Path.Combine(_directory, name), bare);
        await GitAsync("", "init", "-q", "-b", "main", work.Path);
        await GitAsync("", "init", "-q", "--bare", "-b", "main", bare);
        await work.GitAsync("remote", "add", "origin", bare);
        if (files.Length > 0)
            await work.CommitAsync(files);
        return work;
    }

    public async ValueTask DisposeAsync()
    {
        if (_daemon is { HasExited: false })
        {
            _daemon.Kill(entireProcessTree: true);
            await _daemon.WaitForExitAsync();
        }
        _daemon?.Dispose();
        if (_web is not null)
            await _web.DisposeAsync();
        LinuxDirectory.RemoveTree(_directory);
    }

    internal static async Task<string> GitAsync(string directory, params string[] arguments) =>
        (await Programs.RunAsync("git", arguments, Environment, workingDirectory: directory)).Succeeded().Text.Trim();

    private static Dictionary<string, string?> Environment { get; } = new(StringComparer.Ordinal)
    {
        ["HOME"] = "/nonexistent",
        ["GIT_CONFIG_NOSYSTEM"] = "1",
        ["GIT_AUTHOR_NAME"] = "a",
        ["GIT_AUTHOR_EMAIL"] = "a@test",
        ["GIT_COMMITTER_NAME"] = "c",
        ["GIT_COMMITTER_EMAIL"] = "c@test",
        ["GIT_CONFIG_COUNT"] = "2",
        ["GIT_CONFIG_KEY_0"] = "protocol.file.allow",
        ["GIT_CONFIG_VALUE_0"] = "always",
        ["GIT_CONFIG_KEY_1"] = "safe.directory",
        ["GIT_CONFIG_VALUE_1"] = "*",
    };

    /// <summary>Hands a request to <c>git http-backend</c> as web servers do.</summary>
    private async Task AnswerAsync(HttpContext context)
    {
        var request = context.Request;
        if (Authorization is not null && request.Headers.Authorization != Authorization)
        {
            context.Response.StatusCode = 401;
            context.Response.Headers.WWWAuthenticate = "Basic realm=\"git\"";
            return;
        }
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body);
        if (request.Path.Value!.EndsWith("/git-upload-pack", StringComparison.Ordinal) && !Encoding.Latin1.GetString(body.ToArray()).Contains("command=ls-refs", StringComparison.Ordinal))
        {
            Interlocked.Increment(ref _fetches);
            if (HoldsFetches)
            {
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(_ => _abandoned.TrySetResult(), TaskScheduler.Default);
                return;
            }
        }
        var environment = new Dictionary<string, string?>(Environment, StringComparer.Ordinal)
        {
            ["GIT_PROJECT_ROOT"] = _directory,
            ["GIT_HTTP_EXPORT_ALL"] = "1",
            ["REQUEST_METHOD"] = request.Method,
            ["PATH_INFO"] = request.Path.Value,
            ["QUERY_STRING"] = request.QueryString.Value!.TrimStart('?'),
            ["CONTENT_TYPE"] = request.ContentType ?? "",
            ["CONTENT_LENGTH"] = body.Length.ToString(CultureInfo.InvariantCulture),
            ["HTTP_CONTENT_ENCODING"] = request.Headers.ContentEncoding.ToString(),
            ["HTTP_GIT_PROTOCOL"] = SpeaksOldProtocol ? "" : request.Headers["Git-Protocol"].ToString(),
            ["REMOTE_ADDR"] = "127.0.0.1",
        };
        var result = await Programs.RunAsync(Backend, [], environment, body.ToArray());
        var end = result.Output.AsSpan().IndexOf("\r\n\r\n"u8);
        foreach (var line in Encoding.Latin1.GetString(result.Output, 0, end).Split("\r\n"))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            var value = line[(colon + 1)..].Trim();
            if (line[..colon] == "Status")
                context.Response.StatusCode = int.Parse(value[..3], CultureInfo.InvariantCulture);
            else
                context.Response.Headers[line[..colon]] = value;
        }
        await context.Response.Body.WriteAsync(result.Output.AsMemory(end + 4));
    }
}

/// <summary>A checkout that a test changes and pushes.</summary>
public sealed class GitWork(string path, string bare)
{
    /// <summary>The checkout.</summary>
    public string Path => path;

    /// <summary>The repository that is served.</summary>
    public string Bare => bare;

    /// <summary>Runs git in the checkout.</summary>
    public Task<string> GitAsync(params string[] arguments) => GitHost.GitAsync(path, arguments);

    /// <summary>Commits files on the current branch and pushes it; the commit.</summary>
    public async Task<string> CommitAsync(params (string Path, string Text)[] files)
    {
        foreach (var (name, text) in files)
        {
            var file = System.IO.Path.Combine(path, name);
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(file)!);
            await File.WriteAllTextAsync(file, text);
        }
        return await CommitAllAsync();
    }

    /// <summary>Commits all that has changed and pushes; the commit.</summary>
    public async Task<string> CommitAllAsync()
    {
        await GitAsync("add", "-A");
        await GitAsync("commit", "-q", "--allow-empty", "-m", "m " + Guid.NewGuid().ToString("N"));
        await GitAsync("push", "-q", "-f", "origin", "HEAD");
        return await GitAsync("rev-parse", "HEAD");
    }
}
