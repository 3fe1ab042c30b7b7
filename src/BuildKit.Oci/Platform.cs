using System.Runtime.InteropServices;

namespace BuildKit.Oci;

/// <summary>A platform as the OCI image specification names it. Empty strings mean "not given".
/// Two platforms are equal when all parts, including the features in their order, are equal.</summary>
/// <param name="Os">Operating system, for example <c>linux</c>.</param>
/// <param name="Architecture">CPU architecture in Go's naming, for example <c>amd64</c>.</param>
/// <param name="Variant">CPU variant, for example <c>v7</c>.</param>
/// <param name="OsVersion">Version of the operating system.</param>
public sealed partial record Platform(string Os, string Architecture, string Variant = "", string OsVersion = "")
{
    /// <summary>Features the operating system must have.</summary>
    public IReadOnlyList<string> OsFeatures { get; init; } = [];

    /// <summary>The platform of this process, without a CPU variant except on 32-bit ARM.</summary>
    public static Platform Host { get; } = new Platform(HostOs(), HostArchitecture()).Normalize();

    /// <summary>
    /// The normal form (spec 03 §2.7): lower case, aliases of operating systems and architectures replaced,
    /// default variants dropped or, for 32-bit ARM, added. Version and features are kept.
    /// </summary>
    public Platform Normalize()
    {
        var (architecture, variant) = NormalizeArchitecture(Architecture, Variant);
        return this with { Os = NormalizeOs(Os), Architecture = architecture, Variant = variant };
    }

    /// <summary><c>os/architecture[/variant]</c>; <c>unknown</c> when there is no operating system.</summary>
    public string Format() => Os.Length == 0 ? "unknown" : Join(Os);

    /// <summary>As <see cref="Format"/>, with the version after the operating system:
    /// <c>windows(10.0.17763)/amd64</c>. This is the platform id used in results.</summary>
    public string FormatAll() => Os.Length == 0 ? "unknown" : Join(OsVersion.Length == 0 ? Os : $"{Os}({OsVersion})");

    /// <summary>As <see cref="FormatAll"/>.</summary>
    public override string ToString() => FormatAll();

    /// <inheritdoc/>
    public bool Equals(Platform? other) =>
        other is not null && Os == other.Os && Architecture == other.Architecture && Variant == other.Variant
        && OsVersion == other.OsVersion && OsFeatures.SequenceEqual(other.OsFeatures, StringComparer.Ordinal);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        hash.Add(Os, StringComparer.Ordinal);
        hash.Add(Architecture, StringComparer.Ordinal);
        hash.Add(Variant, StringComparer.Ordinal);
        hash.Add(OsVersion, StringComparer.Ordinal);
        foreach (var feature in OsFeatures)
            hash.Add(feature, StringComparer.Ordinal);
        return hash.ToHashCode();
    }

    internal static string NormalizeOs(string os)
    {
        if (os.Length == 0)
            return HostOs();
        var lower = os.ToLowerInvariant();
        return lower == "macos" ? "darwin" : lower;
    }

    internal static (string Architecture, string Variant) NormalizeArchitecture(string architecture, string variant)
    {
        architecture = architecture.ToLowerInvariant();
        variant = variant.ToLowerInvariant();
        return architecture switch
        {
            "i386" => ("386", ""),
            "x86_64" or "x86-64" or "amd64" => ("amd64", variant == "v1" ? "" : variant),
            "aarch64" or "arm64" => ("arm64", variant switch
            {
                "8" or "v8" or "v8.0" => "",
                "9" or "9.0" or "v9.0" => "v9",
                _ => variant,
            }),
            "armhf" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            "arm" => ("arm", variant switch
            {
                "" or "7" => "v7",
                "5" or "6" or "8" => "v" + variant,
                _ => variant,
            }),
            _ => (architecture, variant),
        };
    }

    private string Join(string os) =>
        string.Join('/', new[] { os, Architecture, Variant }.Where(part => part.Length > 0));

    private static string HostOs() =>
        OperatingSystem.IsMacOS() ? "darwin" : OperatingSystem.IsWindows() ? "windows" : OperatingSystem.IsFreeBSD() ? "freebsd" : "linux";

    private static string HostArchitecture() => RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => "amd64",
        System.Runtime.InteropServices.Architecture.X86 => "386",
        System.Runtime.InteropServices.Architecture.Arm64 => "arm64",
        System.Runtime.InteropServices.Architecture.Arm or System.Runtime.InteropServices.Architecture.Armv6 => "arm",
        System.Runtime.InteropServices.Architecture.S390x => "s390x",
        System.Runtime.InteropServices.Architecture.LoongArch64 => "loong64",
        System.Runtime.InteropServices.Architecture.Ppc64le => "ppc64le",
        var other => other.ToString().ToLowerInvariant(),
    };
}
