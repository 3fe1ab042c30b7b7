namespace BuildKit.Daemon.Hosting;

/// <summary>
/// The levels of x86-64 above the first that a CPU reaches (<c>v2</c>, <c>v3</c>, <c>v4</c>), each a set of features.
/// The kernel is asked and not the runtime: a program that is compiled ahead of time knows only the features it was
/// compiled for, and the kernel leaves out those whose registers it does not save.
/// </summary>
public static class CpuLevels
{
    private static readonly (string Level, string[] Flags)[] Levels =
    [
        ("v2", ["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"]),
        ("v3", ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"]),
        ("v4", ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]),
    ];

    /// <summary>The levels of this machine's CPU.</summary>
    public static IReadOnlyList<string> OfThisMachine() => Of(File.ReadLines("/proc/cpuinfo"));

    /// <summary>The levels of the first CPU of a <c>/proc/cpuinfo</c>.</summary>
    public static IReadOnlyList<string> Of(IEnumerable<string> cpuInfo)
    {
        var line = cpuInfo.FirstOrDefault(static line => line.StartsWith("flags", StringComparison.Ordinal)) ?? "";
        var flags = line[(line.IndexOf(':') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries).ToHashSet(StringComparer.Ordinal);
        return [.. Levels.TakeWhile(level => level.Flags.All(flags.Contains)).Select(static level => level.Level)];
    }
}
