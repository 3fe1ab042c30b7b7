using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A test that needs programs in PATH (or <c>root</c>); skipped, with the reason, where they are missing.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequiresFactAttribute : FactAttribute
{
    public RequiresFactAttribute(params string[] needs) => Skip = Requirement.Missing(needs);
}

/// <summary>As <see cref="RequiresFactAttribute"/>, for theories.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequiresTheoryAttribute : TheoryAttribute
{
    public RequiresTheoryAttribute(params string[] needs) => Skip = Requirement.Missing(needs);
}

/// <summary>As <see cref="RequiresFactAttribute"/>, for the cases of a golden set.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequiresGoldenTheoryAttribute : GoldenTheoryAttribute
{
    public RequiresGoldenTheoryAttribute(params string[] needs) => Skip = Requirement.Missing(needs);
}

internal static class Requirement
{
    /// <summary>Why a test cannot run here, or null.</summary>
    public static string? Missing(string[] needs)
    {
        foreach (var need in needs)
        {
            if (need == "root" ? LinuxProcess.EffectiveUserId != 0 : Locate(need) is null)
                return need == "root" ? "needs root" : $"{need} is not installed";
        }
        return null;
    }

    // Where build/stores.sh puts what comes from npm.
    internal static readonly string NodeModules = Path.GetFullPath(Path.Combine(Golden.Root, "..", "..", "artifacts", "stores", "node_modules"));

    private static readonly string Stores = Path.Combine(NodeModules, ".bin");

    /// <summary>Full path of a program, or of an npm package whose name begins with <c>@</c>; or null.</summary>
    public static string? Locate(string program) => program.StartsWith('@')
        ? (File.Exists(Path.Combine(NodeModules, program, "package.json")) ? Path.Combine(NodeModules, program) : null)
        : program is "buildkitd" or "buildctl"
        ? (File.Exists(Path.Combine(Programs.BinDirectory, program)) ? Path.Combine(Programs.BinDirectory, program) : null)
        : (Stores + ":" + (Environment.GetEnvironmentVariable("PATH") ?? "") + ":/usr/sbin:/sbin").Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => Path.Combine(directory, program))
            .FirstOrDefault(File.Exists);
}
