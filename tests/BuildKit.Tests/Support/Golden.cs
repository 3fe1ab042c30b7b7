namespace BuildKit.Tests.Support;

/// <summary>Finds the golden data of the reference: <c>tests/golden</c>, or the folder named by BUILDKIT_GOLDEN_DIR.</summary>
public static class Golden
{
    /// <summary>The folder holding all sets.</summary>
    public static string Root { get; } = Find();

    /// <summary>A file or folder within a set.</summary>
    public static string Path(string set, params string[] parts) => System.IO.Path.Combine([Root, set, .. parts]);

    private static string Find()
    {
        if (Environment.GetEnvironmentVariable("BUILDKIT_GOLDEN_DIR") is { Length: > 0 } configured)
            return configured;
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "BuildKit.slnx")))
                return System.IO.Path.Combine(folder.FullName, "tests", "golden");
        }
        throw new DirectoryNotFoundException("no folder above the tests holds BuildKit.slnx");
    }
}
