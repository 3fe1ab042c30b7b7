using System.Collections.Concurrent;
using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Text;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>A daemon, the scripted registry, and the canaries: a directory and a server nothing may touch.</summary>
public sealed class HostileFixture : IAsyncLifetime
{
    internal const string Token = "HOSTILE-SECRET-TOKEN";
    private const string Canary = "/tmp/hostile-canary";
    private readonly ConcurrentQueue<string> _canaryRequests = new();
    private JsonElement? _routes;
    private WebApplication? _registry;
    private WebApplication? _canary;
    private int _probes;

    public DaemonProcess Daemon { get; private set; } = null!;

    public Buildctl Client { get; private set; } = null!;

    /// <summary>What asked the canary server in this case.</summary>
    public IReadOnlyCollection<string> CanaryRequests => _canaryRequests;

    /// <summary>Sets what the registry answers.</summary>
    public void Serve(JsonElement? routes) => _routes = routes?.Clone();

    /// <summary>A daemon that runs, with an empty state when the case needs it.</summary>
    public async Task PrepareAsync(bool isFresh)
    {
        _canaryRequests.Clear();
        if (isFresh || !Daemon.IsRunning)
        {
            await Daemon.DisposeAsync();
            await StartDaemonAsync();
        }
    }

    /// <summary>Processes the daemon has started, and theirs.</summary>
    public IReadOnlyCollection<int> Descendants()
    {
        var parents = new Dictionary<int, int>();
        foreach (var directory in Directory.GetDirectories("/proc").Where(d => char.IsAsciiDigit(Path.GetFileName(d)[0])))
        {
            try
            {
                var stat = File.ReadAllText(directory + "/stat");
                parents[int.Parse(Path.GetFileName(directory), CultureInfo.InvariantCulture)] = int.Parse(stat[(stat.LastIndexOf(')') + 4)..].Split(' ')[0], CultureInfo.InvariantCulture);
            }
            catch (IOException)
            {
                // It ended while being looked at.
            }
        }
        return [.. parents.Keys.Where(IsOurs)];

        bool IsOurs(int id) => parents.TryGetValue(id, out var parent) && (parent == Daemon.Id || (parent > 1 && IsOurs(parent)));
    }

    /// <summary>Small builds still work.</summary>
    public async Task AssertWorksAsync()
    {
        using var context = new ContextDirectory($"FROM scratch\nCOPY <<EOF /probe-{_probes++}\nx\nEOF\n");
        (await Client.BuildAsync(context)).Succeeded();
    }

    /// <summary>Names, modes and contents of the canary directory are as they were.</summary>
    public void AssertCanaryUntouched()
    {
        Assert.Equal(["secret", "victim", "victim-dir", "victim-dir/inner"], Directory.GetFileSystemEntries(Canary, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(Canary, f)).Order(StringComparer.Ordinal));
        Assert.Equal("untouched\n", File.ReadAllText(Canary + "/victim"));
        Assert.Equal("untouched\n", File.ReadAllText(Canary + "/victim-dir/inner"));
        Assert.Equal(Token + "\n", File.ReadAllText(Canary + "/secret"));
        Assert.Equal((UnixFileMode)0x1A4, File.GetUnixFileMode(Canary + "/victim"));
        Assert.Equal((UnixFileMode)0x1ED, File.GetUnixFileMode(Canary + "/victim-dir"));
    }

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(BuildFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        if (Directory.Exists(Canary))
            LinuxDirectory.RemoveTree(Canary);
        Directory.CreateDirectory(Canary + "/victim-dir");
        await File.WriteAllTextAsync(Canary + "/victim", "untouched\n");
        await File.WriteAllTextAsync(Canary + "/victim-dir/inner", "untouched\n");
        await File.WriteAllTextAsync(Canary + "/secret", Token + "\n");
        foreach (var file in new[] { "victim", "secret", "victim-dir/inner" })
            File.SetUnixFileMode($"{Canary}/{file}", (UnixFileMode)0x1A4);
        File.SetUnixFileMode(Canary + "/victim-dir", (UnixFileMode)0x1ED);
        _registry = await ListenAsync(new IPEndPoint(IPAddress.Loopback, 29990), AnswerAsync);
        _canary = await ListenAsync(new IPEndPoint(IPAddress.Parse("127.0.0.2"), 29999), async context =>
        {
            _canaryRequests.Enqueue($"{context.Request.Method} {context.Request.Path}");
            await context.Response.WriteAsync(Token);
        });
        await StartDaemonAsync();
    }

    public async Task DisposeAsync()
    {
        if (Daemon is not null)
            await Daemon.DisposeAsync();
        if (_registry is not null)
            await _registry.DisposeAsync();
        if (_canary is not null)
            await _canary.DisposeAsync();
        if (Directory.Exists(Canary))
            LinuxDirectory.RemoveTree(Canary);
    }

    internal static byte[] Unpack(JsonElement packed)
    {
        using var gzip = new GZipStream(new MemoryStream(packed.GetBytesFromBase64()), CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        gzip.CopyTo(bytes);
        return bytes.ToArray();
    }

    private async Task StartDaemonAsync()
    {
        Daemon = await DaemonProcess.StartAsync(configuration: "[registry.\"127.0.0.1:29990\"]\n  http = true\n");
        Client = new Buildctl(Daemon.Address);
    }

    private static async Task<WebApplication> ListenAsync(IPEndPoint address, RequestDelegate answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Listen(address));
        var server = builder.Build();
        server.Run(answer);
        await server.StartAsync();
        return server;
    }

    private async Task AnswerAsync(HttpContext context)
    {
        var path = context.Request.Path.Value!;
        var route = _routes?.EnumerateArray().Where(r => r.GetProperty("path").GetString() is var p && (p == path || p == "*")).Cast<JsonElement?>().FirstOrDefault();
        var response = context.Response;
        if (route is not { } r)
        {
            response.StatusCode = 404;
            await response.WriteAsync("{}");
            return;
        }
        response.StatusCode = r.GetProperty("status").GetInt32();
        foreach (var header in r.TryGetProperty("headers", out var headers) ? headers.EnumerateObject() : default)
            response.Headers[header.Name] = header.Value.GetString();
        for (var i = 0; r.TryGetProperty("header_flood", out var flood) && i < flood.GetInt32(); i++)
            response.Headers[$"X-Flood-{i}"] = i.ToString(System.Globalization.CultureInfo.InvariantCulture);
        var body = r.TryGetProperty("body", out var text) ? Encoding.UTF8.GetBytes(text.GetString()!) : r.TryGetProperty("body_gz_b64", out var gz) ? Unpack(gz) : [];
        var repeat = r.TryGetProperty("repeat", out var times) ? times.GetInt64() : 0;
        if (repeat == 0)
            response.ContentLength = body.Length + (r.TryGetProperty("content_length_add", out var add) ? add.GetInt64() : 0);
        if (HttpMethods.IsHead(context.Request.Method))
            return;
        try
        {
            if (r.TryGetProperty("byte_delay_ms", out var delay))
            {
                foreach (var b in body)
                {
                    await response.Body.WriteAsync(new[] { b });
                    await response.Body.FlushAsync();
                    await Task.Delay(delay.GetInt32(), context.RequestAborted);
                }
            }
            else
            {
                for (long i = 0; i < Math.Max(1, repeat); i++)
                    await response.Body.WriteAsync(body, context.RequestAborted);
            }
            await response.Body.FlushAsync();
            if (response.ContentLength > body.Length)
                context.Abort();
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // The daemon had enough.
        }
    }
}
