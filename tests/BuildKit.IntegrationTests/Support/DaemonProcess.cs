using System.Diagnostics;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>
/// A <c>buildkitd</c> with a root, a socket and a log of its own. Disposing stops it and checks that it leaves no mount below its root.
/// </summary>
public sealed class DaemonProcess : IAsyncDisposable
{
    private readonly string _root;
    private readonly IReadOnlyList<string> _arguments;
    private readonly IReadOnlyDictionary<string, string?>? _environment;
    private readonly StringBuilder _log = new();
    private Process? _process;

    private DaemonProcess(string root, string? configuration, IReadOnlyDictionary<string, string?>? environment, IEnumerable<string> arguments)
    {
        (_root, _environment) = (root, environment);
        Scratch = Directory.CreateTempSubdirectory("bkd-").FullName;
        var config = Path.Combine(Scratch, "buildkitd.toml");
        File.WriteAllText(config, configuration ?? "");
        _arguments = ["--config", config, "--root", Root, "--addr", Address, "--otel-socket-path", Path.Combine(Scratch, "otel.sock"), "--containerd-worker=false", .. arguments];
    }

    /// <summary>The daemon's state directory.</summary>
    public string Root => _root.Length > 0 ? _root : Path.Combine(Scratch, "root");

    /// <summary>A short directory that goes with the daemon.</summary>
    public string Scratch { get; }

    /// <summary>Where clients connect.</summary>
    public string Address => "unix://" + Path.Combine(Scratch, "b.sock");

    /// <summary>Process id of the running daemon.</summary>
    public int Id => _process!.Id;

    /// <summary>Whether the daemon runs.</summary>
    public bool IsRunning => _process is { HasExited: false };

    /// <summary>All the daemon wrote so far.</summary>
    public string Log
    {
        get
        {
            lock (_log)
                return _log.ToString();
        }
    }

    /// <summary>Starts a daemon on an empty root (or the given one) and waits until it answers.</summary>
    public static async Task<DaemonProcess> StartAsync(
        string root = "", string? configuration = null, IReadOnlyDictionary<string, string?>? environment = null, params IEnumerable<string> arguments)
    {
        var daemon = new DaemonProcess(root, configuration, environment, arguments);
        try
        {
            await daemon.StartAgainAsync();
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts the stopped daemon on the same root and waits until it answers.</summary>
    public async Task StartAgainAsync()
    {
        _process = Programs.Start(Programs.Buildkitd, _arguments, _environment);
        _process.OutputDataReceived += (_, line) => Append(line.Data);
        _process.ErrorDataReceived += (_, line) => Append(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        var since = Stopwatch.StartNew();
        while (true)
        {
            var probe = await Programs.RunAsync(Programs.Buildctl, ["--addr", Address, "debug", "workers"]);
            if (probe.ExitCode == 0)
                return;
            if (_process.HasExited)
                throw new InvalidOperationException($"buildkitd ended at start:\n{Log}");
            if (since.Elapsed > TimeSpan.FromSeconds(60))
                throw new InvalidOperationException($"buildkitd does not answer: {probe.Errors}\n{Log}");
            await Task.Delay(50);
        }
    }

    /// <summary>Asks the daemon to stop and waits for its end.</summary>
    public async Task StopAsync()
    {
        using var kill = Programs.Start("kill", ["-TERM", Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync();
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await _process!.WaitForExitAsync(timeout.Token);
    }

    /// <summary>Ends the daemon without warning, as a crash would. What it started goes on.</summary>
    public async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
    }

    /// <summary>Mount points below the daemon's root.</summary>
    public IReadOnlyList<string> MountsBelowRoot() => [.. MountTable.Below(Root).Select(m => m.MountPoint).Where(path => path != Root)];

    public async ValueTask DisposeAsync()
    {
        try
        {
            if (IsRunning)
            {
                await StopAsync();
                Assert.Empty(MountsBelowRoot());
            }
        }
        finally
        {
            if (IsRunning)
                await KillAsync();
            _process?.Dispose();
            foreach (var mount in MountTable.Below(Scratch).Reverse())
                Mounts.TryUnmount(mount.MountPoint, lazy: true);
            LinuxDirectory.RemoveTree(Scratch);
        }
    }

    private void Append(string? line)
    {
        lock (_log)
            _log.AppendLine(line);
    }
}
