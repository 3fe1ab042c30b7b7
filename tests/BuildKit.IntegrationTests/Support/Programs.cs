using System.Diagnostics;
using System.Text;

namespace BuildKit.IntegrationTests.Support;

/// <summary>How a program ended and what it wrote.</summary>
public sealed record ProgramResult(string Command, int ExitCode, byte[] Output, string Errors)
{
    /// <summary>Standard output as text.</summary>
    public string Text => Encoding.UTF8.GetString(Output);

    /// <summary>This result, or an assertion that shows everything when the program failed.</summary>
    public ProgramResult Succeeded()
    {
        Assert.True(ExitCode == 0, $"{Command}\nended with {ExitCode}\n{Errors}\n{Text}");
        return this;
    }

    /// <summary>This result, or an assertion that shows everything when the exit code is another.</summary>
    public ProgramResult Failed(int exitCode = 1)
    {
        Assert.True(ExitCode == exitCode, $"{Command}\nended with {ExitCode}, expected {exitCode}\n{Errors}\n{Text}");
        return this;
    }
}

/// <summary>The programs under test and the running of others.</summary>
public static class Programs
{
    /// <summary>Where <c>buildkitd</c> and <c>buildctl</c> are: BUILDKIT_TEST_BIN, or bin/ of the repository.</summary>
    public static string BinDirectory { get; } = Environment.GetEnvironmentVariable("BUILDKIT_TEST_BIN")
        ?? Path.Combine(Golden.Repository, "bin");

    /// <summary>The daemon under test.</summary>
    public static string Buildkitd => Path.Combine(BinDirectory, "buildkitd");

    /// <summary>The client under test.</summary>
    public static string Buildctl => Path.Combine(BinDirectory, "buildctl");

    /// <summary>Starts a program with both outputs redirected and nothing to read.</summary>
    public static Process Start(string program, IEnumerable<string> arguments, IReadOnlyDictionary<string, string?>? environment = null, string? workingDirectory = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = workingDirectory ?? "",
        };
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>(StringComparer.Ordinal))
            start.Environment[name] = value;
        return Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
    }

    /// <summary>Runs a program to its end.</summary>
    public static async Task<ProgramResult> RunAsync(
        string program,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string?>? environment = null,
        byte[]? input = null,
        string? workingDirectory = null,
        TimeSpan? limit = null)
    {
        var list = arguments.ToList();
        using var process = Start(program, list, environment, workingDirectory);
        using var output = new MemoryStream();
        var copying = process.StandardOutput.BaseStream.CopyToAsync(output);
        var errors = process.StandardError.ReadToEndAsync();
        try
        {
            if (input is not null)
                await process.StandardInput.BaseStream.WriteAsync(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The program ended without reading; its exit code tells why.
        }
        using var timeout = new CancellationTokenSource(limit ?? TimeSpan.FromMinutes(2));
        try
        {
            await process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} {string.Join(' ', list)} does not end: {await errors}");
        }
        await copying;
        return new ProgramResult($"{Path.GetFileName(program)} {string.Join(' ', list)}", process.ExitCode, output.ToArray(), await errors);
    }
}
