using System.Globalization;

namespace BuildKit.Daemon.Gateway.Containers;

/// <summary>Linux' signals by the names the gateway gives them, without <c>SIG</c>. Real-time signals count from
/// <c>RTMIN</c> up and from <c>RTMAX</c> down.</summary>
internal static class SignalNumbers
{
    private const int FirstRealTime = 34, LastRealTime = 64;

    /// <summary>Names of the signals from 1 up.</summary>
    private static readonly string[] Names =
    [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
        "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];

    /// <summary>The number of a signal; null when there is no such signal.</summary>
    public static int? Find(string name)
    {
        name = name switch
        {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            "UNUSED" => "SYS",
            "RTMIN" => "RTMIN+0",
            "RTMAX" => "RTMAX-0",
            _ => name,
        };
        if (Array.IndexOf(Names, name) is >= 0 and var index)
            return index + 1;
        var (sign, from) = name.StartsWith("RTMIN+", StringComparison.Ordinal) ? (1, FirstRealTime)
            : name.StartsWith("RTMAX-", StringComparison.Ordinal) ? (-1, LastRealTime) : (0, 0);
        return sign != 0 && int.TryParse(name.AsSpan("RTMIN+".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var offset)
            && from + sign * offset is >= FirstRealTime and <= LastRealTime and var found
            ? found
            : null;
    }
}
