using System.Globalization;

namespace BuildKit.Oci;

/// <summary>
/// Decides which platforms satisfy a wanted one and which of two is the better match: an ordered list of
/// acceptable platforms (the platform vector, spec 06 §9.1), best first.
/// </summary>
public sealed class PlatformMatcher : IComparer<Platform?>
{
    private readonly Platform[] _accepted;

    private PlatformMatcher(IEnumerable<Platform> accepted) => _accepted = [.. accepted.Select(platform => platform.Normalize())];

    /// <summary>The acceptable platforms, normalised, best first.</summary>
    public IReadOnlyList<Platform> Accepted => _accepted;

    /// <summary>Accepts the platform and what its CPU can run too: amd64 also 386 and lower levels, arm64 also
    /// 32-bit ARM, arm/v7 also v6 and v5.</summary>
    public static PlatformMatcher Only(Platform platform) => new(Vector(platform.Normalize()));

    /// <summary>Accepts exactly the platform (after normalisation).</summary>
    public static PlatformMatcher OnlyStrict(Platform platform) => new([platform]);

    /// <summary>Accepts any of the platforms, preferring earlier ones.</summary>
    public static PlatformMatcher Ordered(IEnumerable<Platform> platforms) => new(platforms);

    /// <summary>Whether the platform is acceptable.</summary>
    public bool Matches(Platform platform) => Rank(platform) < _accepted.Length;

    /// <summary>Position of the platform in the list of acceptable ones; the length of the list when it is not acceptable.</summary>
    public int Rank(Platform platform)
    {
        var normalized = platform.Normalize();
        for (var i = 0; i < _accepted.Length; i++)
        {
            if (Matches(_accepted[i], normalized))
                return i;
        }
        return _accepted.Length;
    }

    /// <summary>Negative when <paramref name="x"/> is the better match; a missing platform is worst.</summary>
    public int Compare(Platform? x, Platform? y) =>
        (x is null ? int.MaxValue : Rank(x)).CompareTo(y is null ? int.MaxValue : Rank(y));

    /// <summary>
    /// The entry of an index to use for this platform: acceptable ones and those without platform are kept, the
    /// best is taken, the first of equals (spec 06 §9.1.3). Null when none fits.
    /// </summary>
    public Descriptor? Select(IEnumerable<Descriptor> manifests) =>
        manifests.Where(manifest => manifest.Platform is null || Matches(manifest.Platform))
            .OrderBy(manifest => manifest.Platform, this)
            .FirstOrDefault();

    private static bool Matches(Platform wanted, Platform offered) =>
        wanted.Os == offered.Os && wanted.Architecture == offered.Architecture && wanted.Variant == offered.Variant
        && (wanted.Os != "windows" || WindowsBuildMatches(wanted.OsVersion, offered.OsVersion));

    private static IEnumerable<Platform> Vector(Platform platform)
    {
        switch (platform.Architecture)
        {
            case "amd64":
                yield return platform;
                for (var level = VersionOf(platform.Variant) - 1; level >= 1; level--)
                    yield return platform with { Variant = Version(level) };
                yield return platform with { Architecture = "386", Variant = "" };
                break;
            case "arm":
                yield return platform;
                for (var version = VersionOf(platform.Variant) - 1; version >= 5; version--)
                    yield return platform with { Variant = Version(version) };
                break;
            case "arm64":
                var variant = platform.Variant.Length == 0 ? "v8" : platform.Variant;
                foreach (var compatible in Arm64Variants(variant))
                    yield return platform with { Variant = compatible };
                if (variant.StartsWith("v8", StringComparison.Ordinal) || variant.StartsWith("v9", StringComparison.Ordinal))
                    variant = "v8";
                foreach (var narrow in Vector(platform with { Architecture = "arm", Variant = variant }))
                    yield return narrow;
                break;
            default:
                yield return platform;
                break;
        }
    }

    /// <summary>The variants an arm64 CPU of this variant runs: all lower minors, and for v9.n also v8.(n+5) and below.
    /// None for an unknown variant.</summary>
    private static IEnumerable<string> Arm64Variants(string variant)
    {
        var parts = variant.Split('.');
        if (parts.Length > 2 || parts[0] is not ("v8" or "v9"))
            yield break;
        var minor = 0;
        if (parts.Length == 2 && (parts[1].Length != 1 || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out minor)))
            yield break;
        var isV9 = parts[0] == "v9";
        if (isV9 && minor > 7)
            yield break;
        for (var i = minor; isV9 && i >= 0; i--)
            yield return i == 0 ? "v9" : "v9." + Number(i);
        for (var i = isV9 ? Math.Min(minor + 5, 9) : minor; i >= 0; i--)
            yield return i == 0 ? "v8" : "v8." + Number(i);
    }

    private static int VersionOf(string variant) =>
        int.TryParse(variant.StartsWith('v') ? variant.AsSpan(1) : variant, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var version) ? version : 0;

    private static string Version(int version) => "v" + Number(version);

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>Windows containers run on a host whose major, minor and build numbers agree; from Server 2022 on
    /// the host may be newer.</summary>
    private static bool WindowsBuildMatches(string wanted, string offered)
    {
        const int Ltsc2022 = 20348;
        if (wanted.Length == 0 || offered.Length == 0)
            return true;
        var host = BuildOf(wanted);
        if (host == (0, 0, 0))
            return true;
        var container = BuildOf(offered);
        if ((host.Major, host.Minor) != (container.Major, container.Minor))
            return false;
        return host.Build < Ltsc2022 || container.Build < Ltsc2022
            ? host.Build == container.Build
            : container.Build <= host.Build;
    }

    private static (int Major, int Minor, int Build) BuildOf(string version)
    {
        var parts = version.Split('.');
        return parts.Length < 3 ? (0, 0, 0) : (Parse(parts[0]), Parse(parts[1]), Parse(parts[2]));

        static int Parse(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;
    }
}
