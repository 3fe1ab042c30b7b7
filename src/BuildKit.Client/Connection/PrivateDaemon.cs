using System.ComponentModel;
using System.Diagnostics;
using BuildKit.Linux;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Client;

/// <summary>
/// A daemon for whoever has none: started for one build, listening on a socket only its user can reach, its cache
/// kept for the next time. One that another build of the same user started is shared.
/// </summary>
public sealed class PrivateDaemon : IAsyncDisposable
{
    private const int Terminate = 15;
    private static readonly TimeSpan StartPatience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan PollPause = TimeSpan.FromMilliseconds(20);

    private readonly Process? _process;

    private PrivateDaemon(Process? process, string address, string root)
    {
        _process = process;
        Address = address;
        Root = root;
    }

    /// <summary>Where it listens.</summary>
    public string Address { get; }

    /// <summary>Where it keeps its state.</summary>
    public string Root { get; }

    /// <summary>Whether it was started by us, so that it ends with us.</summary>
    public bool IsOwned => _process is not null;

    /// <summary>The program beside our own, else the one in PATH; null when there is none.</summary>
    public static string? FindProgram()
    {
        if (Path.GetDirectoryName(Environment.ProcessPath) is { } own && File.Exists(Path.Combine(own, "buildkitd")))
            return Path.Combine(own, "buildkitd");
        foreach (var directory in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            if (File.Exists(Path.Combine(directory, "buildkitd")))
                return Path.Combine(directory, "buildkitd");
        }
        return null;
    }

    /// <summary>Joins the user's private daemon, or starts one and waits until it answers.</summary>
    /// <exception cref="ClientException">It does not come up; the text holds the end of its log.</exception>
    public static async Task<PrivateDaemon> StartAsync(string program, CancellationToken cancellationToken)
    {
        var isRoot = LinuxProcess.EffectiveUserId == 0;
        var root = isRoot ? "/var/lib/buildkit-private" : Path.Combine(UserData(), "buildkit-private");
        var sockets = isRoot ? "/run/buildkit-private" : UserSockets();
        Directory.CreateDirectory(sockets, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var owner = LinuxFile.Lstat(sockets);
        if (owner.Uid != LinuxProcess.EffectiveUserId || (owner.Permissions & 0x3F) != 0)
            throw new ClientException($"{sockets} must belong to you and be closed to others; remove it and try again");
        var address = "unix://" + Path.Combine(sockets, "buildkitd.sock");
        if (await AnswersAsync(address, cancellationToken))
            return new PrivateDaemon(null, address, root);

        var log = Path.Combine(sockets, "buildkitd.log");
        var start = new ProcessStartInfo("/bin/sh") { UseShellExecute = false, RedirectStandardInput = true };
        // The shell only redirects; setsid keeps an interrupt at the terminal away from the daemon.
        var setsid = File.Exists("/usr/bin/setsid") ? "setsid " : "";
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add($"exec {setsid}\"$0\" --root \"$1\" --addr \"$2\" >\"$3\" 2>&1 </dev/null");
        foreach (var argument in (ReadOnlySpan<string>)[program, root, address, log])
            start.ArgumentList.Add(argument);
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception failure)
        {
            throw new ClientException($"cannot start {program}: {failure.Message}", failure);
        }
        var daemon = new PrivateDaemon(process, address, root);
        try
        {
            await daemon.WaitAsync(program, log, cancellationToken);
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }

    /// <summary>Stops it if we started it; builds of others that use it are finished first.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_process is null)
            return;
        if (!_process.HasExited)
        {
            LinuxProcess.Kill(_process.Id, Terminate);
            using var patience = new CancellationTokenSource(StopPatience);
            try
            {
                await _process.WaitForExitAsync(patience.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill(entireProcessTree: true);
            }
        }
        _process.Dispose();
    }

    private async Task WaitAsync(string program, string log, CancellationToken cancellationToken)
    {
        var begin = TimeProvider.System.GetTimestamp();
        while (!await AnswersAsync(Address, cancellationToken))
        {
            if (_process!.HasExited)
                throw new ClientException($"{program} ended before it was ready:\n{Tail(log)}");
            if (TimeProvider.System.GetElapsedTime(begin) > StartPatience)
                throw new ClientException($"{program} did not answer within {StartPatience.TotalSeconds} s:\n{Tail(log)}");
            await Task.Delay(PollPause, cancellationToken);
        }
    }

    private static async Task<bool> AnswersAsync(string address, CancellationToken cancellationToken)
    {
        try
        {
            await using var channel = await DaemonConnection.ConnectAsync(address, new TlsOptions(), cancellationToken);
            await channel.UnaryAsync(Protocol.Services.ControlMethods.Info, new Protocol.Control.InfoRequest(), default, cancellationToken);
            return true;
        }
        catch (RpcException answer)
        {
            return answer.Code == StatusCode.Unimplemented;
        }
    }

    private static string Tail(string log)
    {
        var lines = File.Exists(log) ? File.ReadAllLines(log) : [];
        return string.Join('\n', lines[Math.Max(0, lines.Length - 10)..]);
    }

    private static string UserData() =>
        Environment.GetEnvironmentVariable("XDG_DATA_HOME") is { Length: > 0 } data
            ? data
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local", "share");

    private static string UserSockets() =>
        Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime
            ? Path.Combine(runtime, "buildkit-private")
            : Path.Combine(Path.GetTempPath(), $"buildkit-private-{LinuxProcess.EffectiveUserId}");
}
