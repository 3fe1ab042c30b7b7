namespace BuildKit.Tests.Support;

/// <summary>A theory over recorded data; skipped where the data is not there (BUILDKIT_GOLDEN_DIR may name a smaller set).</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class GoldenTheoryAttribute : TheoryAttribute
{
    public GoldenTheoryAttribute(string file)
    {
        if (!File.Exists(Path.Combine(Golden.Root, file)))
            Skip = $"there is no {file} in {Golden.Root}";
    }
}
