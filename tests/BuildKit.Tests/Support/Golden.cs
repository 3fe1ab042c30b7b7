namespace BuildKit.Tests.Support;

/// <summary>Finds the golden data of the reference: <c>tests/golden</c>, or where BUILDKIT_GOLDEN_DIR says.</summary>
public static class Golden
{
    /// <summary>Folder of the sources these tests were built from.</summary>
    public static string Repository { get; } = Find();

    public static string Root { get; } = Environment.GetEnvironmentVariable("BUILDKIT_GOLDEN_DIR") is { Length: > 0 } configured
        ? configured
        : System.IO.Path.Combine(Repository, "tests", "golden");

    public static string Path(string set, params string[] parts) =>
        System.IO.Path.Combine([Root, set, .. parts]);

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "BuildKit.slnx")))
                return folder.FullName;
        throw new DirectoryNotFoundException($"no folder above {AppContext.BaseDirectory} holds BuildKit.slnx");
    }
}
