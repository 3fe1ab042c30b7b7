namespace BuildKit.IntegrationTests.Support;

/// <summary>Finds golden data: tests/golden of the repository, or where BUILDKIT_GOLDEN_DIR points.</summary>
public static class Golden
{
    public static string Root { get; } = Environment.GetEnvironmentVariable("BUILDKIT_GOLDEN_DIR") ?? Find();

    public static string Path(string set, params string[] parts) => System.IO.Path.Combine([Root, set, .. parts]);

    private static string Find()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(System.IO.Path.Combine(directory.FullName, "BuildKit.slnx")))
                return System.IO.Path.Combine(directory.FullName, "tests", "golden");
        }
        throw new DirectoryNotFoundException($"no BuildKit.slnx above {AppContext.BaseDirectory}: set BUILDKIT_GOLDEN_DIR");
    }
}
