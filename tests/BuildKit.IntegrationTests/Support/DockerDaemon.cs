using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>
/// A <c>dockerd</c> of its own: private state, no bridge, no firewall rules. Its embedded BuildKit answers on <c>/grpc</c> of the
/// Docker API; a relay leads a client of BuildKit's protocol there.
/// </summary>
public sealed class DockerDaemon : IAsyncDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("dkd-").FullName;
    private readonly StringBuilder _log = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Socket _relay = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private Process? _process;
    private Task _relaying = Task.CompletedTask;

    private DockerDaemon()
    {
    }

    /// <summary>Where clients of BuildKit's protocol connect.</summary>
    public string Address => $"unix://{_directory}/b.sock";

    private string ApiSocket => _directory + "/docker.sock";

    /// <summary>What starting one needs.</summary>
    public static string[] Needs { get; } = ["root", "dockerd", "containerd"];

    /// <summary>Starts a daemon on an empty state and waits until it answers.</summary>
    public static async Task<DockerDaemon> StartAsync()
    {
        var daemon = new DockerDaemon();
        try
        {
            await daemon.RunAsync();
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }

    /// <summary>An image as <c>docker save</c> writes it.</summary>
    public async Task SaveAsync(string name, string path)
    {
        using var client = Api();
        await using var archive = await client.GetStreamAsync(new Uri($"http://docker/images/{name}/get"));
        await using var file = File.Create(path);
        await archive.CopyToAsync(file);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _relay.Dispose();
        await _relaying;
        if (_process is { HasExited: false })
        {
            using var kill = Programs.Start("kill", ["-TERM", _process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
            await kill.WaitForExitAsync();
            using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            try
            {
                await _process.WaitForExitAsync(timeout.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
                await _process.WaitForExitAsync();
            }
        }
        _process?.Dispose();
        _stop.Dispose();
        foreach (var mount in MountTable.Below(_directory).Reverse())
            Mounts.TryUnmount(mount.MountPoint, lazy: true);
        LinuxDirectory.RemoveTree(_directory);
    }

    private async Task RunAsync()
    {
        await File.WriteAllTextAsync(_directory + "/daemon.json", """{"features":{"buildkit":true}}""");
        _process = Programs.Start("dockerd",
        [
            "--config-file", _directory + "/daemon.json", "--data-root", _directory + "/data", "--exec-root", _directory + "/exec",
            "--pidfile", _directory + "/docker.pid", "--host", "unix://" + ApiSocket, "--bridge=none", "--iptables=false",
        ]);
        _process.OutputDataReceived += (_, line) => Append(line.Data);
        _process.ErrorDataReceived += (_, line) => Append(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        using var client = Api();
        var since = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                _ = await client.GetStringAsync(new Uri("http://docker/_ping"));
                break;
            }
            catch (HttpRequestException failure)
            {
                if (_process.HasExited || since.Elapsed > TimeSpan.FromMinutes(1))
                    throw new InvalidOperationException($"dockerd does not answer: {failure.Message}\n{Log()}", failure);
                await Task.Delay(50);
            }
        }
        _relay.Bind(new UnixDomainSocketEndPoint(_directory + "/b.sock"));
        _relay.Listen();
        _relaying = RelayAllAsync();
    }

    private async Task RelayAllAsync()
    {
        var running = new List<Task>();
        try
        {
            while (true)
                running.Add(RelayAsync(await _relay.AcceptAsync(_stop.Token)));
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(running);
        }
    }

    private async Task RelayAsync(Socket accepted)
    {
        using var client = accepted;
        using var docker = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await docker.ConnectAsync(new UnixDomainSocketEndPoint(ApiSocket), _stop.Token);
            await docker.SendAsync("POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"u8.ToArray(), _stop.Token);
            var answer = new StringBuilder();
            var one = new byte[1];
            while (!answer.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal) && await docker.ReceiveAsync(one, _stop.Token) == 1)
                answer.Append((char)one[0]);
            if (!answer.ToString().StartsWith("HTTP/1.1 101 ", StringComparison.Ordinal))
                throw new InvalidOperationException($"dockerd does not open BuildKit's protocol: {answer}");
            await Task.WhenAny(PumpAsync(client, docker), PumpAsync(docker, client));
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            return; // either side went away: so does the connection
        }
    }

    private async Task PumpAsync(Socket from, Socket to)
    {
        var buffer = new byte[1 << 16];
        try
        {
            while (await from.ReceiveAsync(buffer, _stop.Token) is > 0 and var count)
                await to.SendAsync(buffer.AsMemory(0, count), _stop.Token);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            return; // as above
        }
    }

    private HttpClient Api() => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, token) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(ApiSocket), token);
            return new NetworkStream(socket, ownsSocket: true);
        },
    });

    private string Log()
    {
        lock (_log)
            return _log.ToString();
    }

    private void Append(string? line)
    {
        lock (_log)
            _log.AppendLine(line);
    }
}
