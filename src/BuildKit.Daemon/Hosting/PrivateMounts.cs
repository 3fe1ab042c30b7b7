using System.Globalization;
using BuildKit.Linux;

namespace BuildKit.Daemon.Hosting;

/// <summary>
/// Gives the daemon mounts of its own: a mount namespace that hears of the host's mounts but tells the host
/// nothing. What the daemon mounts is gone when it is gone, however it ends; and the second cgroup version of a
/// mixed host, with which crun does not run, can be taken out of sight. A process with threads cannot change its
/// namespace as a whole, so the program executes itself again from the thread that did.
/// </summary>
internal static class PrivateMounts
{
    private const string Marker = "BUILDKITD_PRIVATE_MOUNTS";
    private const string OpenFilesMarker = "BUILDKITD_OPEN_FILES";
    private const string SecondCgroups = "/sys/fs/cgroup/unified";
    private const int NewMountNamespace = 0x00020000;

    /// <summary>Limit of open files the daemon was started with, before the runtime raised its own: what steps get.</summary>
    public static (long Soft, long Hard)? OpenFiles
    {
        get
        {
            var parts = Environment.GetEnvironmentVariable(OpenFilesMarker)?.Split(' ');
            return parts is [var soft, var hard] && long.TryParse(soft, out var s) && long.TryParse(hard, out var h) ? (s, h) : null;
        }
    }

    /// <summary>Returns in the daemon's own namespace; a host that forbids it keeps the shared one.</summary>
    public static void Enter()
    {
        if (Environment.GetEnvironmentVariable(Marker) is not null)
        {
            HideSecondCgroups();
            return;
        }
        try
        {
            LinuxProcess.Unshare(NewMountNamespace);
            Mounts.Mount(new MountPoint("", "", ["rslave"]), "/");
        }
        catch (LinuxException)
        {
            return;
        }
        var environment = new List<string> { Marker + "=1" };
        if (ParentOpenFiles() is { } limits)
            environment.Add($"{OpenFilesMarker}={limits}");
        foreach (System.Collections.DictionaryEntry entry in Environment.GetEnvironmentVariables())
            environment.Add($"{entry.Key}={entry.Value}");
        LinuxProcess.Execute("/proc/self/exe", File.ReadAllText("/proc/self/cmdline").TrimEnd('\0').Split('\0'), environment);
    }

    private static void HideSecondCgroups()
    {
        if (File.Exists(SecondCgroups + "/cgroup.controllers") && !File.Exists("/sys/fs/cgroup/cgroup.controllers"))
            _ = Mounts.TryUnmount(SecondCgroups, lazy: true);
    }

    // The runtime raises its own soft limit before the first line of ours runs; the parent still has the original. Its hard
    // limit may be above ours, which nobody below us can pass.
    private static string? ParentOpenFiles()
    {
        try
        {
            var stat = File.ReadAllText("/proc/self/stat");
            var parent = stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1];
            if (OpenFilesOf(parent) is not { } original || OpenFilesOf("self") is not { } own)
                return null;
            var hard = Math.Min(original.Hard, own.Hard);
            return string.Create(CultureInfo.InvariantCulture, $"{Math.Min(original.Soft, hard)} {hard}");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Another user's parent: steps then get the daemon's own limit.
        }
        return null;
    }

    private static (long Soft, long Hard)? OpenFilesOf(string process)
    {
        foreach (var line in File.ReadLines($"/proc/{process}/limits"))
        {
            if (!line.StartsWith("Max open files", StringComparison.Ordinal))
                continue;
            var words = line["Max open files".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return long.TryParse(words[0], CultureInfo.InvariantCulture, out var soft) && long.TryParse(words[1], CultureInfo.InvariantCulture, out var hard)
                ? (soft, hard)
                : null;
        }
        return null;
    }
}
