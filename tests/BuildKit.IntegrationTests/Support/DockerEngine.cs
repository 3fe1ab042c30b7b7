using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>
/// A <c>dockerd</c> with roots of its own and no network, for its embedded, older BuildKit. That answers on <c>/grpc</c> of the
/// Docker API; a bridge leads our client there.
/// </summary>
public sealed class DockerEngine : IAsyncDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("dke-").FullName;
    private readonly StringBuilder _log = new();
    private readonly CancellationTokenSource _end = new();
    private readonly HttpClient _api;
    private Process? _process;
    private Socket? _listener;
    private Task _bridge = Task.CompletedTask;

    private DockerEngine() => _api = new HttpClient(new SocketsHttpHandler { ConnectCallback = async (_, token) => new NetworkStream(await ConnectAsync(token), ownsSocket: true) });

    /// <summary>Where clients of its BuildKit connect.</summary>
    public string Address => "unix://" + BridgePath;

    private string BridgePath => Path.Combine(_directory, "bridge.sock");

    private string ApiPath => Path.Combine(_directory, "docker.sock");

    public static async Task<DockerEngine> StartAsync()
    {
        var engine = new DockerEngine();
        try
        {
            await engine.RunAsync();
            return engine;
        }
        catch
        {
            await engine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Pushes an image of the engine to the registry its name says.</summary>
    public async Task PushAsync(string reference)
    {
        var colon = reference.LastIndexOf(':');
        using var request = new HttpRequestMessage(HttpMethod.Post, $"http://docker/images/{reference[..colon]}/push?tag={reference[(colon + 1)..]}");
        request.Headers.Add("X-Registry-Auth", Convert.ToBase64String("{}"u8));
        using var answer = await _api.SendAsync(request);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.IsSuccessStatusCode && !text.Contains("\"error\"", StringComparison.Ordinal), $"docker push of {reference}: {text}");
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        _listener?.Dispose();
        await _bridge;
        if (_process is { HasExited: false })
        {
            using var kill = Programs.Start("kill", ["-TERM", _process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
            await kill.WaitForExitAsync();
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            try
            {
                await _process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
            }
        }
        _process?.Dispose();
        _api.Dispose();
        _end.Dispose();
        foreach (var mount in MountTable.Below(_directory).Reverse())
            Mounts.TryUnmount(mount.MountPoint, lazy: true);
        LinuxDirectory.RemoveTree(_directory);
    }

    private async Task RunAsync()
    {
        var config = Path.Combine(_directory, "docker.json");
        await File.WriteAllTextAsync(config, "{\"features\": {\"buildkit\": true}}\n");
        _process = Programs.Start(Requirement.Locate("dockerd")!,
        [
            "--data-root", Path.Combine(_directory, "data"), "--exec-root", Path.Combine(_directory, "exec"), "--pidfile", Path.Combine(_directory, "pid"),
            "--config-file", config, "--host", "unix://" + ApiPath, "--bridge", "none", "--iptables=false",
        ]);
        _process.OutputDataReceived += (_, line) => Append(line.Data);
        _process.ErrorDataReceived += (_, line) => Append(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        var since = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                using var answer = await _api.GetAsync(new Uri("http://docker/_ping"));
                break;
            }
            catch (HttpRequestException)
            {
                Assert.True(!_process.HasExited && since.Elapsed < TimeSpan.FromMinutes(1), $"dockerd does not answer:\n{_log}");
                await Task.Delay(100);
            }
        }
        _listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _listener.Bind(new UnixDomainSocketEndPoint(BridgePath));
        _listener.Listen();
        _bridge = AcceptAsync();
    }

    private async Task AcceptAsync()
    {
        List<Task> connections = [];
        try
        {
            while (true)
                connections.Add(BridgeAsync(await _listener!.AcceptAsync(_end.Token)));
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The engine stops.
        }
        await Task.WhenAll(connections);
    }

    private async Task BridgeAsync(Socket accepted)
    {
        try
        {
            await using var client = new NetworkStream(accepted, ownsSocket: true);
            await using var docker = new NetworkStream(await ConnectAsync(_end.Token), ownsSocket: true);
            await docker.WriteAsync("POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"u8.ToArray(), _end.Token);
            var head = new List<byte>();
            var one = new byte[1];
            while (!Encoding.ASCII.GetString([.. head]).EndsWith("\r\n\r\n", StringComparison.Ordinal) && await docker.ReadAsync(one, _end.Token) > 0)
                head.Add(one[0]);
            await Task.WhenAny(client.CopyToAsync(docker, _end.Token), docker.CopyToAsync(client, _end.Token));
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or SocketException)
        {
            // One side went away; the other one notices.
        }
    }

    private async Task<Socket> ConnectAsync(CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(ApiPath), cancellationToken);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private void Append(string? line)
    {
        lock (_log)
            _log.AppendLine(line);
    }
}
