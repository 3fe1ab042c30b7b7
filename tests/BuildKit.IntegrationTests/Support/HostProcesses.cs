using System.Diagnostics;

namespace BuildKit.IntegrationTests.Support;

/// <summary>Processes of the machine, containers' too.</summary>
public static class HostProcesses
{
    /// <summary>Ids of the processes whose command line (words separated by NUL) contains a text.</summary>
    public static IReadOnlyList<string> With(string commandLine)
    {
        var found = new List<string>();
        foreach (var directory in Directory.GetDirectories("/proc").Where(d => char.IsAsciiDigit(Path.GetFileName(d)[0])))
        {
            try
            {
                if (File.ReadAllText(directory + "/cmdline").Contains(commandLine, StringComparison.Ordinal))
                    found.Add(Path.GetFileName(directory));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It ended while being looked at.
            }
        }
        return found;
    }

    /// <summary>Waits until no such process is left.</summary>
    public static async Task GoneAsync(string commandLine)
    {
        var since = Stopwatch.StartNew();
        while (With(commandLine) is { Count: > 0 } left)
        {
            Assert.True(since.Elapsed < TimeSpan.FromSeconds(30), $"still running: {string.Join(' ', left)}");
            await Task.Delay(100);
        }
    }
}
