namespace BuildKit.Oci;

/// <summary>A platform as the OCI image specification names it. Empty strings mean "not given".</summary>
/// <param name="Os">Operating system, for example <c>linux</c>.</param>
/// <param name="Architecture">CPU architecture in Go's naming, for example <c>amd64</c>.</param>
/// <param name="Variant">CPU variant, for example <c>v7</c>.</param>
/// <param name="OsVersion">Version of the operating system.</param>
public sealed partial record Platform(string Os, string Architecture, string Variant = "", string OsVersion = "")
{
    /// <summary>Features the operating system must have.</summary>
    public IReadOnlyList<string> OsFeatures { get; init; } = [];
}
