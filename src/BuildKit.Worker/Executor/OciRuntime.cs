using System.Diagnostics;

namespace BuildKit.Worker.Executor;

/// <summary>
/// The OCI runtime program (runc or crun): its command line and its peculiarities. It is started from one
/// thread that lives as long as the daemon, because the kernel ties the "kill me with my parent" signal to the
/// thread that started a process.
/// </summary>
public sealed class OciRuntime : IDisposable
{
    private readonly ProcessSpawner _spawner;
    private readonly string _stateDirectory;
    private readonly string _logPath;
    private bool? _keepsContainers;

    private OciRuntime(string path, string stateDirectory, string logPath, ProcessSpawner spawner)
    {
        Path = path;
        _stateDirectory = stateDirectory;
        _logPath = logPath;
        _spawner = spawner;
    }

    /// <summary>Absolute path of the program.</summary>
    public string Path { get; }

    /// <summary>File the runtime logs to.</summary>
    public string LogPath => _logPath;

    /// <summary>
    /// Chooses the runtime: the configured binary, else crun where it can run on this host, else
    /// <c>buildkit-runc</c> or <c>runc</c>.
    /// </summary>
    /// <exception cref="FileNotFoundException">None is installed; the message says which to install.</exception>
    public static OciRuntime Find(string? configured, HostFeatures host, string executorDirectory)
    {
        string[] candidates = configured is { Length: > 0 } ? [configured] : host.HybridCgroups ? ["buildkit-runc", "runc"] : ["crun", "buildkit-runc", "runc"];
        var path = candidates.Select(Locate).FirstOrDefault(found => found is not null)
            ?? throw new FileNotFoundException(configured is { Length: > 0 }
                ? $"failed to find {configured} binary"
                : "failed to find runc binary: install an OCI runtime (Debian: apt-get install crun, or runc) or name one with --oci-worker-binary");
        var state = System.IO.Path.Combine(executorDirectory, "state");
        Directory.CreateDirectory(state);
        return new OciRuntime(path, state, System.IO.Path.Combine(executorDirectory, "runc-log.json"), new ProcessSpawner());
    }

    /// <summary>
    /// Whether <c>run --keep</c> is known: the container's cgroup can then be read after its end. The program is asked
    /// at the first container, not at the daemon's start, which would have to wait for it.
    /// </summary>
    public async ValueTask<bool> KeepsContainersAsync(CancellationToken cancellationToken) =>
        _keepsContainers ??= (await RunAsync(["run", "--help"], cancellationToken)).Output.Contains("--keep", StringComparison.Ordinal);

    /// <summary>Full path of a program in PATH, or null.</summary>
    public static string? Locate(string program)
    {
        if (program.Contains('/', StringComparison.Ordinal))
            return File.Exists(program) ? System.IO.Path.GetFullPath(program) : null;
        var path = Environment.GetEnvironmentVariable("PATH") ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        return path.Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => System.IO.Path.Combine(directory, program))
            .FirstOrDefault(File.Exists);
    }

    /// <summary>Starts <c>run</c> for a bundle; the process ends with the container's first process.</summary>
    /// <param name="bundle">Directory of the specification.</param>
    /// <param name="id">Name of the container.</param>
    /// <param name="keep">Whether it stays until it is deleted; only where <see cref="KeepsContainersAsync"/> says so.</param>
    /// <param name="streams">Where its input and output go.</param>
    internal Task<Process> StartRunAsync(string bundle, string id, bool keep, RuntimeStreams streams) =>
        _spawner.StartAsync(Command(dieWithDaemon: true, streams, keep
            ? ["run", "--bundle", bundle, "--keep", id]
            : ["run", "--bundle", bundle, id]));

    /// <summary>Starts <c>exec</c> of a process description in a running container.</summary>
    internal Task<Process> StartExecAsync(string processFile, string pidFile, string id, RuntimeStreams streams) =>
        _spawner.StartAsync(Command(dieWithDaemon: true, streams, ["exec", "--process", processFile, "--pid-file", pidFile, id]));

    /// <summary>Sends a signal to the container's first process; a container that is gone is no error.</summary>
    public async Task KillAsync(string id, int signal, CancellationToken cancellationToken) =>
        await RunAsync(["kill", id, signal.ToString(System.Globalization.CultureInfo.InvariantCulture)], cancellationToken);

    /// <summary>Removes what is left of a container, killing it if need be; one that is gone is no error.</summary>
    public async Task DeleteAsync(string id, CancellationToken cancellationToken) =>
        await RunAsync(["delete", "--force", id], cancellationToken);

    /// <summary>The state of a container as the runtime tells it (JSON), or null when there is none.</summary>
    public async Task<string?> StateAsync(string id, CancellationToken cancellationToken)
    {
        var (code, output) = await RunAsync(["state", id], cancellationToken);
        return code == 0 ? output : null;
    }

    /// <summary>Ids of containers the runtime still keeps state of.</summary>
    public IReadOnlyList<string> LeftoverIds() =>
        [.. Directory.EnumerateDirectories(_stateDirectory).Select(directory => System.IO.Path.GetFileName(directory))];

    /// <inheritdoc/>
    public void Dispose() => _spawner.Dispose();

    private async Task<(int Code, string Output)> RunAsync(string[] arguments, CancellationToken cancellationToken)
    {
        using var process = await _spawner.StartAsync(Command(dieWithDaemon: false, default, arguments));
        var errors = process.StandardError.ReadToEndAsync(cancellationToken);
        var output = await process.StandardOutput.ReadToEndAsync(cancellationToken);
        await errors;
        await process.WaitForExitAsync(cancellationToken);
        return (process.ExitCode, output);
    }

    private ProcessStartInfo Command(bool dieWithDaemon, RuntimeStreams streams, string[] arguments)
    {
        string[] command = [Path, "--root", _stateDirectory, "--log", _logPath, "--log-format", "json", .. arguments];
        if (dieWithDaemon)
            command = ["setpriv", "--pdeathsig", "KILL", "--", .. command];
        // A started process can be given pipes only; a shell puts the terminal in their place and becomes the command.
        if (streams.Terminal is { } terminal)
            command = ["sh", "-c", "exec \"$@\" <\"$0\" >\"$0\" 2>&1", terminal, .. command];
        var start = new ProcessStartInfo(command[0], command[1..])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = streams.HasInput || streams.Terminal is not null,
            UseShellExecute = false,
        };
        start.Environment.Remove("NOTIFY_SOCKET");
        return start;
    }
}
