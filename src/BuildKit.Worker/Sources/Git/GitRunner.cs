using System.Diagnostics;
using System.Text;
using BuildKit.Linux;
using BuildKit.Solver;
using BuildKit.Worker.Executor;

namespace BuildKit.Worker.Sources.Git;

/// <summary>A git command failed; the text is the reference's.</summary>
internal sealed class GitException(string stderr, int exitCode) : Exception($"git stderr:\n{stderr}: exit status {exitCode}")
{
    /// <summary>What git wrote to stderr.</summary>
    public string Stderr { get; } = stderr;
}

/// <summary>What a git command works on and with.</summary>
internal sealed record GitCommand
{
    /// <summary>The repository, or an empty directory for none: git then does not go looking for one.</summary>
    public required string GitDir { get; init; }

    /// <summary>The checkout; null for none.</summary>
    public string? WorkTree { get; init; }

    /// <summary>Settings beyond the fixed ones. They travel in the environment, where other users of the machine
    /// cannot read them.</summary>
    public IReadOnlyList<(string Key, string Value)> Settings { get; init; } = [];

    /// <summary>The known_hosts file; null to trust any host.</summary>
    public string? KnownHostsFile { get; init; }

    /// <summary>Socket of the ssh agent; null for none.</summary>
    public string? AgentSocket { get; init; }

    /// <summary>Where git's output is shown; null for nowhere.</summary>
    public IProgressWriter? Progress { get; init; }
}

/// <summary>
/// Runs git so that nothing of the machine gets into it (spec 06 §9.3): an environment made from nothing, no
/// configuration of system or user, no hooks, no prompts, no keys but the client's. One object for the daemon's life.
/// </summary>
public sealed class GitRunner : IDisposable
{
    private const int CapturedSize = 16 << 20;
    private const int Terminate = 15;
    private const int Kill = 9;
    private const int CloneFs = 0x200;
    private const uint Umask = 0x12; // 022
    private static readonly TimeSpan TerminateTime = TimeSpan.FromSeconds(10);

    /// <summary>The first that takes settings from the environment.</summary>
    private static readonly (int Major, int Minor) OldestGit = (2, 31);

    private static readonly string[] ProxyVariables =
        ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"];

    private static readonly (string Key, string Value)[] FixedSettings =
    [
        ("protocol.file.allow", "user"), // no submodules from the machine's file system
        ("protocol.ext.allow", "never"),
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("advice.detachedHead", "false"),
        ("init.defaultBranch", "master"),
        ("fetch.recurseSubmodules", "false"),
        ("fetch.unpackLimit", "1"), // a fetch that is cut off leaves no commit without its files
        ("gc.autoDetach", "false"), // nothing goes on in a repository after its lock is given back
        ("safe.directory", "*"),
    ];

    private readonly ProcessSpawner _spawner = new(static () =>
    {
        // The daemon's umask is 0; of all its threads, only this one makes files as git expects to.
        LinuxProcess.Unshare(CloneFs);
        LinuxProcess.SetUmask(Umask);
    });

    private readonly StepLogLimits _limits;
    private readonly TimeProvider _time;
    private string? _git;

    /// <summary>Makes the runner; git itself is looked for when it is needed.</summary>
    public GitRunner(StepLogLimits limits, TimeProvider time)
    {
        _limits = limits;
        _time = time;
    }

    /// <summary>Stops the thread that starts processes.</summary>
    public void Dispose() => _spawner.Dispose();

    /// <summary>Runs a command; its stdout.</summary>
    /// <exception cref="GitException">It failed. A fetch that a server cannot do in part is first tried in full.</exception>
    internal async Task<string> RunAsync(GitCommand command, IReadOnlyList<string> arguments, CancellationToken cancellationToken)
    {
        try
        {
            return await RunOnceAsync(command, arguments, cancellationToken);
        }
        catch (GitException exception) when (arguments.Contains("--depth=1")
            && (exception.Stderr.Contains("--depth", StringComparison.Ordinal) || exception.Stderr.Contains("shallow", StringComparison.Ordinal)))
        {
            return await RunOnceAsync(command, [.. arguments.Where(argument => argument != "--depth=1")], cancellationToken);
        }
    }

    private async Task<string> RunOnceAsync(GitCommand command, IReadOnlyList<string> arguments, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var stdout = new StepLog(1, _limits, _time, Write);
        var stderr = new StepLog(2, _limits, _time, Write);
        var output = new Captured(CapturedSize);
        var errors = new Captured(CapturedSize);
        using var process = await _spawner.StartAsync(StartOf(await LocateAsync(), command, arguments));
        var pumps = Task.WhenAll(
            OutputPump.Start(process.StandardOutput.BaseStream.Read, chunk => Take(stdout, output, chunk)),
            OutputPump.Start(process.StandardError.BaseStream.Read, chunk => Take(stderr, errors, chunk)));
        try
        {
            await process.WaitForExitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            await EndAsync(process);
            await pumps;
            throw;
        }
        await pumps;
        if (process.ExitCode == 0)
        {
            return output.IsCut
                ? throw new InvalidOperationException($"git {arguments[0]} wrote more than {CapturedSize} bytes")
                : output.ToString();
        }
        stdout.FlushHeldBack();
        stderr.FlushHeldBack();
        throw new GitException(errors.ToString(), process.ExitCode);

        void Write(int stream, ReadOnlyMemory<byte> data) => command.Progress?.Write(new ProgressLog(default, stream, data, _time.GetUtcNow()));
    }

    private static void Take(StepLog log, Captured captured, ReadOnlyMemory<byte> chunk)
    {
        log.Write(chunk);
        captured.Add(chunk.Span);
    }

    /// <summary>Ends git with the helpers it started: they share its process group.</summary>
    private async Task EndAsync(Process process)
    {
        LinuxProcess.Kill(-process.Id, Terminate);
        using var patience = new CancellationTokenSource(TerminateTime, _time);
        try
        {
            await process.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            LinuxProcess.Kill(-process.Id, Kill);
            await process.WaitForExitAsync(CancellationToken.None);
        }
    }

    /// <summary>Path of git; found anew until there is one, so that installing it needs no restart.</summary>
    private async Task<string> LocateAsync()
    {
        if (_git is not null)
            return _git;
        var path = OciRuntime.Locate("git")
            ?? throw new InvalidOperationException("git sources need the program git: install it on the daemon's machine");
        using var process = await _spawner.StartAsync(new ProcessStartInfo(path, "version") { RedirectStandardOutput = true });
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        var words = output.Split((char[])[' ', '.', '\n']);
        if (words is not ["git", "version", var major, var minor, ..] || !int.TryParse(major, out var first) || !int.TryParse(minor, out var second)
            || (first, second).CompareTo(OldestGit) < 0)
            throw new InvalidOperationException($"git sources need git {OldestGit.Major}.{OldestGit.Minor} or newer on the daemon's machine, {path} says: {output.Trim()}");
        return _git = path;
    }

    private static ProcessStartInfo StartOf(string git, GitCommand command, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo("setsid")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            WorkingDirectory = command.WorkTree ?? command.GitDir,
        };
        string[] where = command.WorkTree is { } tree ? ["--work-tree", tree, "--git-dir", command.GitDir] : ["--git-dir", command.GitDir];
        foreach (var argument in (string[])["setpriv", "--pdeathsig", "TERM", "--", git, .. where, .. arguments])
            start.ArgumentList.Add(argument);
        SetEnvironment(start.Environment, command);
        return start;
    }

    private static void SetEnvironment(IDictionary<string, string?> environment, GitCommand command)
    {
        environment.TryGetValue("PATH", out var path);
        var proxies = ProxyVariables.Where(environment.ContainsKey).ToDictionary(name => name, name => environment[name], StringComparer.Ordinal);
        environment.Clear();
        foreach (var (name, value) in proxies)
            environment[name] = value;
        environment["PATH"] = path;
        environment["HOME"] = "/dev/null";
        environment["LC_ALL"] = "C";
        environment["GIT_TERMINAL_PROMPT"] = "0";
        environment["GIT_CONFIG_NOSYSTEM"] = "1";
        environment["GIT_CONFIG_GLOBAL"] = "/dev/null";
        environment["GIT_SSH_COMMAND"] = SshCommand(command.KnownHostsFile);
        if (command.AgentSocket is { } socket)
            environment["SSH_AUTH_SOCK"] = socket;
        var count = 0;
        foreach (var (key, value) in FixedSettings.Concat(command.Settings))
        {
            environment[$"GIT_CONFIG_KEY_{count}"] = key;
            environment[$"GIT_CONFIG_VALUE_{count}"] = value;
            count++;
        }
        environment["GIT_CONFIG_COUNT"] = count.ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    /// <summary>ssh finds root's own keys and hosts by the password file, whatever HOME says: they are turned off.</summary>
    private static string SshCommand(string? knownHosts)
    {
        const string Isolated = "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none";
        return knownHosts is null
            ? Isolated + " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
            : $"{Isolated} -o 'UserKnownHostsFile=\"{knownHosts.Replace("'", "'\\''", StringComparison.Ordinal)}\"'";
    }

    /// <summary>The first bytes of an output.</summary>
    private sealed class Captured(int limit)
    {
        private readonly MemoryStream _bytes = new();

        public bool IsCut { get; private set; }

        public void Add(ReadOnlySpan<byte> chunk)
        {
            var room = limit - (int)_bytes.Length;
            IsCut |= chunk.Length > room;
            _bytes.Write(chunk.Length > room ? chunk[..room] : chunk);
        }

        public override string ToString() => Encoding.UTF8.GetString(_bytes.GetBuffer(), 0, (int)_bytes.Length);
    }
}
