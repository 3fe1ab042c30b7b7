namespace BuildKit.Tests.Support;

/// <summary>Finds the golden data of the reference: <c>tests/golden</c>, or where BUILDKIT_GOLDEN_DIR says.</summary>
public static class Golden
{
    public static string Root { get; } = Find();

    public static string Path(string set, params string[] parts) =>
        System.IO.Path.Combine([Root, set, .. parts]);

    private static string Find()
    {
        if (Environment.GetEnvironmentVariable("BUILDKIT_GOLDEN_DIR") is { Length: > 0 } configured)
            return configured;
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "BuildKit.slnx")))
                return System.IO.Path.Combine(folder.FullName, "tests", "golden");
        throw new DirectoryNotFoundException($"no folder above {AppContext.BaseDirectory} holds BuildKit.slnx");
    }
}
