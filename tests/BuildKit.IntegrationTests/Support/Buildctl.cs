using System.Diagnostics;
using System.Text;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A finished build and what was seen of it.</summary>
public sealed record BuildResult(ProgramResult Result, BuildTrace Trace)
{
    /// <summary>This result, or an assertion that shows everything when the build failed.</summary>
    public BuildResult Succeeded()
    {
        Result.Succeeded();
        return this;
    }
}

/// <summary>Runs the client under test against one daemon, with more global flags if given.</summary>
public sealed class Buildctl(string address, IReadOnlyDictionary<string, string?>? environment = null, params string[] flags)
{
    /// <summary>Runs <c>buildctl ARGUMENTS</c> to its end.</summary>
    public Task<ProgramResult> RunAsync(IEnumerable<string> arguments, byte[]? input = null, IReadOnlyDictionary<string, string?>? more = null) =>
        Programs.RunAsync(Programs.Buildctl, ["--addr", address, .. flags, .. arguments], Environment(more), input);

    /// <summary>Builds the Dockerfile of a context and follows its progress.</summary>
    public async Task<BuildResult> BuildAsync(ContextDirectory context, params string[] arguments)
    {
        var result = await RunAsync(Arguments(context, "rawjson", arguments));
        return new BuildResult(result, BuildTrace.Parse(result.Errors));
    }

    /// <summary>Builds the Dockerfile of a context with the display people see.</summary>
    public Task<ProgramResult> BuildPlainAsync(ContextDirectory context, params string[] arguments) => RunAsync(Arguments(context, "plain", arguments));

    /// <summary>Starts a build; its plain display goes to <see cref="RunningBuild.Output"/>.</summary>
    public RunningBuild Start(ContextDirectory context, params string[] arguments) => Start(Arguments(context, "plain", arguments));

    /// <summary>Starts any command.</summary>
    public RunningBuild Start(IEnumerable<string> arguments) => new(Programs.Start(Programs.Buildctl, ["--addr", address, .. flags, .. arguments], Environment(null)));

    /// <summary>Removes everything the daemon keeps.</summary>
    public async Task PruneAllAsync() => (await RunAsync(["prune", "--all"])).Succeeded();

    private static IEnumerable<string> Arguments(ContextDirectory context, string progress, IEnumerable<string> arguments) =>
        ["build", "--progress=" + progress, "--frontend", "dockerfile.v0", "--local", "context=" + context.Path, "--local", "dockerfile=" + context.Path, .. arguments];

    private Dictionary<string, string?> Environment(IReadOnlyDictionary<string, string?>? more)
    {
        // Whoever runs the tests may have credentials; none of them is used.
        var result = new Dictionary<string, string?>(StringComparer.Ordinal) { ["DOCKER_CONFIG"] = "/nonexistent", ["BUILDKIT_HOST"] = null, ["SOURCE_DATE_EPOCH"] = null };
        foreach (var (name, value) in (environment ?? new Dictionary<string, string?>(StringComparer.Ordinal)).Concat(more ?? new Dictionary<string, string?>(StringComparer.Ordinal)))
            result[name] = value;
        return result;
    }
}

/// <summary>A command that is under way.</summary>
public sealed class RunningBuild : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();

    internal RunningBuild(Process process)
    {
        _process = process;
        process.OutputDataReceived += (_, line) => Append(line.Data);
        process.ErrorDataReceived += (_, line) => Append(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    /// <summary>All it wrote so far.</summary>
    public string Output
    {
        get
        {
            lock (_output)
                return _output.ToString();
        }
    }

    /// <summary>Waits until a text was written; fails when the command ends before.</summary>
    public async Task WaitForAsync(string text)
    {
        var since = Stopwatch.StartNew();
        while (!Output.Contains(text, StringComparison.Ordinal))
        {
            if (_process.HasExited)
                await _process.WaitForExitAsync(); // and all it wrote has arrived
            Assert.True(!_process.HasExited || Output.Contains(text, StringComparison.Ordinal), $"ended with {(_process.HasExited ? _process.ExitCode : 0)} before it wrote \"{text}\":\n{Output}");
            Assert.True(since.Elapsed < TimeSpan.FromMinutes(1), $"did not write \"{text}\":\n{Output}");
            await Task.Delay(20);
        }
    }

    /// <summary>Whether it has not ended.</summary>
    public bool IsRunning => !_process.HasExited;

    /// <summary>Sends SIGINT, as Ctrl-C does.</summary>
    public async Task InterruptAsync()
    {
        using var kill = Programs.Start("kill", ["-INT", _process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync();
    }

    /// <summary>Exit code once it ended.</summary>
    public async Task<int> EndAsync(TimeSpan? limit = null)
    {
        using var timeout = new CancellationTokenSource(limit ?? TimeSpan.FromMinutes(1));
        await _process.WaitForExitAsync(timeout.Token);
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }
        _process.Dispose();
    }

    private void Append(string? line)
    {
        lock (_output)
            _output.AppendLine(line);
    }
}
