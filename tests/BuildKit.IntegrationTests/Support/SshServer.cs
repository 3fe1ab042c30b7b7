using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>An <c>sshd</c> on a free loopback port with throw-away keys: root may enter with one of them.</summary>
public sealed class SshServer : IAsyncDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("sshd-").FullName;
    private Process? _process;

    private SshServer(int port) => Port = port;

    /// <summary>Port on 127.0.0.1.</summary>
    public int Port { get; }

    /// <summary>Private key that the server knows.</summary>
    public string ClientKey => _directory + "/client";

    /// <summary>Private key that it does not know.</summary>
    public string StrangeKey => _directory + "/strange";

    /// <summary>Starts a server and waits until it answers.</summary>
    public static async Task<SshServer> StartAsync()
    {
        var server = new SshServer(DockerRegistry.FreePort());
        try
        {
            await server.RunAsync();
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is { HasExited: false })
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }
        _process?.Dispose();
        LinuxDirectory.RemoveTree(_directory);
    }

    private async Task RunAsync()
    {
        foreach (var name in new[] { "host", "client", "strange" })
            (await Programs.RunAsync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", $"{_directory}/{name}"])).Succeeded();
        await File.WriteAllTextAsync(_directory + "/config", $"""
            Port {Port.ToString(CultureInfo.InvariantCulture)}
            ListenAddress 127.0.0.1
            HostKey {_directory}/host
            AuthorizedKeysFile {_directory}/client.pub
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password

            """);
        Directory.CreateDirectory("/run/sshd"); // where sshd wants to be locked in
        var program = Requirement.Locate("sshd")!;
        _process = Programs.Start(program, ["-D", "-e", "-f", _directory + "/config"]);
        var errors = _process.StandardError.ReadToEndAsync();
        while (true)
        {
            Assert.False(_process.HasExited, _process.HasExited ? await errors : "");
            try
            {
                using var probe = new TcpClient();
                await probe.ConnectAsync("127.0.0.1", Port);
                return;
            }
            catch (SocketException)
            {
                await Task.Delay(20);
            }
        }
    }
}
