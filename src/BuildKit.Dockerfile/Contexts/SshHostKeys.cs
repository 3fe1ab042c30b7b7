using System.ComponentModel;
using System.Diagnostics;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>Asks a host for its ssh keys, so that the clone can trust it (spec 05 §8.3).</summary>
internal static class SshHostKeys
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>Known-hosts lines of a host, or null when it cannot be asked: the clone then decides.</summary>
    public static string? Scan(string host)
    {
        var colon = host.LastIndexOf(':');
        var start = new ProcessStartInfo("ssh-keyscan") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add("-T");
        start.ArgumentList.Add("4");
        if (colon > 0)
        {
            start.ArgumentList.Add("-p");
            start.ArgumentList.Add(host[(colon + 1)..]);
        }
        start.ArgumentList.Add("--");
        start.ArgumentList.Add(colon > 0 ? host[..colon] : host);
        try
        {
            using var process = Process.Start(start);
            if (process is null)
                return null;
            process.ErrorDataReceived += static (_, _) => { };
            process.BeginErrorReadLine();
            var output = process.StandardOutput.ReadToEndAsync();
            if (!output.Wait(Patience) || !process.WaitForExit(Patience))
            {
                process.Kill();
                return null;
            }
            var keys = output.Result.Split('\n').Where(static line => line.Length > 0 && line[0] != '#').ToList();
            return keys.Count == 0 ? null : string.Concat(keys.Select(static key => key + "\n"));
        }
        catch (Exception e) when (e is Win32Exception or InvalidOperationException)
        {
            return null; // no ssh on this machine
        }
    }
}
