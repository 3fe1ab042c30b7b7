using System.Text.RegularExpressions;

namespace BuildKit.Oci;

/// <content>Reading platform specifiers such as <c>linux/arm/v7</c>, <c>arm64</c> or <c>windows(10.0.17763)/amd64</c>.</content>
public sealed partial record Platform
{
    private const string OsPattern = @"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?$";
    private const string PartPattern = "^[A-Za-z0-9_.-]+$";

    /// <summary>Parses a specifier <c>os</c>, <c>architecture</c>, <c>os/architecture</c> or
    /// <c>os/architecture/variant</c>; the parts come out normalised, but an explicit variant of arm64 and a
    /// missing variant of arm stay as written (<c>linux/arm64/v8</c>, <c>linux/arm</c>).</summary>
    /// <exception cref="FormatException">Not a platform; the text is the one other tools print.</exception>
    public static Platform Parse(string specifier)
    {
        if (specifier.Contains('*', StringComparison.Ordinal))
            throw Invalid($"{GoSyntax.Quote(specifier)}: wildcards not yet supported");
        var parts = specifier.Split('/', 4);
        var osMatch = OsExpression().Match(parts[0]);
        if (!osMatch.Success)
            throw Invalid($"{GoSyntax.Quote(parts[0])} is an invalid OS component of {GoSyntax.Quote(specifier)}: OSAndVersion specifier component must match {GoSyntax.Quote(OsPattern)}");
        foreach (var part in parts.AsSpan(1))
        {
            if (!PartExpression().IsMatch(part))
                throw Invalid($"{GoSyntax.Quote(part)} is an invalid component of {GoSyntax.Quote(specifier)}: platform specifier component must match {GoSyntax.Quote(PartPattern)}");
        }
        var os = NormalizeOs(osMatch.Groups[1].Value);
        var version = osMatch.Groups[2].Value;
        switch (parts.Length)
        {
            case 1 when IsKnownOs(os):
                return Host with { Os = os, OsVersion = version, Variant = Host.Variant == "v7" ? "" : Host.Variant };
            case 1:
                var alone = WithoutDefaultArm(NormalizeArchitecture(parts[0], ""));
                if (!IsKnownArchitecture(alone.Architecture))
                    throw Invalid($"{GoSyntax.Quote(specifier)}: unknown operating system or architecture");
                return new Platform(Host.Os, alone.Architecture, alone.Variant, version);
            case 2:
                var (architecture, variant) = WithoutDefaultArm(NormalizeArchitecture(parts[1], ""));
                return new Platform(os, architecture, variant, version);
            case 3:
                (architecture, variant) = NormalizeArchitecture(parts[1], parts[2]);
                return new Platform(os, architecture, architecture == "arm64" && variant.Length == 0 ? "v8" : variant, version);
            default:
                throw Invalid($"{GoSyntax.Quote(specifier)}: cannot parse platform specifier");
        }
    }

    /// <summary>Parses a specifier; false when it is not one.</summary>
    public static bool TryParse(string specifier, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out Platform? platform)
    {
        try
        {
            platform = Parse(specifier);
            return true;
        }
        catch (FormatException)
        {
            platform = null;
            return false;
        }
    }

    private static (string Architecture, string Variant) WithoutDefaultArm((string Architecture, string Variant) cpu) =>
        cpu is ("arm", "v7") ? ("arm", "") : cpu;

    private static FormatException Invalid(string message) => new(message + ": invalid argument");

    private static bool IsKnownOs(string os) => os is "aix" or "android" or "darwin" or "dragonfly" or "freebsd" or "hurd"
        or "illumos" or "ios" or "js" or "linux" or "nacl" or "netbsd" or "openbsd" or "plan9" or "solaris" or "windows" or "zos";

    private static bool IsKnownArchitecture(string architecture) => architecture is "386" or "amd64" or "amd64p32" or "arm"
        or "armbe" or "arm64" or "arm64be" or "ppc64" or "ppc64le" or "loong64" or "mips" or "mipsle" or "mips64" or "mips64le"
        or "mips64p32" or "mips64p32le" or "ppc" or "riscv" or "riscv64" or "s390" or "s390x" or "sparc" or "sparc64" or "wasm";

    [GeneratedRegex(@"\A([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?\z", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex OsExpression();

    [GeneratedRegex(@"\A[A-Za-z0-9_.-]+\z", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex PartExpression();
}
