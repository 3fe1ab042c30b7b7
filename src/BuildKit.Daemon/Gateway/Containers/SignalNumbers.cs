using System.Collections.Frozen;
using System.Globalization;

namespace BuildKit.Daemon.Gateway.Containers;

/// <summary>Linux' signals by the names the gateway gives them, without <c>SIG</c>. Real-time signals count from
/// <c>RTMIN</c> up and from <c>RTMAX</c> down.</summary>
internal static class SignalNumbers
{
    private const int FirstRealTime = 34, LastRealTime = 64;

    private static readonly FrozenDictionary<string, int> Named = new Dictionary<string, int>(StringComparer.Ordinal)
    {
        ["HUP"] = 1, ["INT"] = 2, ["QUIT"] = 3, ["ILL"] = 4, ["TRAP"] = 5, ["ABRT"] = 6, ["IOT"] = 6, ["BUS"] = 7, ["FPE"] = 8,
        ["KILL"] = 9, ["USR1"] = 10, ["SEGV"] = 11, ["USR2"] = 12, ["PIPE"] = 13, ["ALRM"] = 14, ["TERM"] = 15, ["STKFLT"] = 16,
        ["CHLD"] = 17, ["CLD"] = 17, ["CONT"] = 18, ["STOP"] = 19, ["TSTP"] = 20, ["TTIN"] = 21, ["TTOU"] = 22, ["URG"] = 23,
        ["XCPU"] = 24, ["XFSZ"] = 25, ["VTALRM"] = 26, ["PROF"] = 27, ["WINCH"] = 28, ["IO"] = 29, ["POLL"] = 29, ["PWR"] = 30,
        ["SYS"] = 31, ["UNUSED"] = 31, ["RTMIN"] = FirstRealTime, ["RTMAX"] = LastRealTime,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>The number of a signal; null when there is no such signal.</summary>
    public static int? Find(string name)
    {
        if (Named.TryGetValue(name, out var number))
            return number;
        var (sign, from) = name.StartsWith("RTMIN+", StringComparison.Ordinal) ? (1, FirstRealTime)
            : name.StartsWith("RTMAX-", StringComparison.Ordinal) ? (-1, LastRealTime) : (0, 0);
        return sign != 0 && int.TryParse(name.AsSpan("RTMIN+".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var offset)
            && from + sign * offset is >= FirstRealTime and <= LastRealTime and var found
            ? found
            : null;
    }
}
