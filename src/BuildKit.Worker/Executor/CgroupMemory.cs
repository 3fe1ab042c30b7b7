using System.Globalization;

namespace BuildKit.Worker.Executor;

/// <summary>What the unified cgroup hierarchy says about a container's memory.</summary>
internal static class CgroupMemory
{
    /// <summary>Whether the kernel killed a process of the container for lack of memory.</summary>
    public static bool WasKilled(string cgroupsPath)
    {
        var events = "/sys/fs/cgroup" + cgroupsPath + "/memory.events";
        if (!File.Exists(events))
            return false;
        foreach (var line in File.ReadLines(events))
            if (line.StartsWith("oom_kill ", StringComparison.Ordinal))
                return long.Parse(line.AsSpan(9), CultureInfo.InvariantCulture) > 0;
        return false;
    }
}
