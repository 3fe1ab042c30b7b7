using System.Text.Json;

namespace BuildKit.Tests.Support;

/// <summary>
/// Finds the golden data of the reference: <c>tests/golden</c>, or where BUILDKIT_GOLDEN_DIR says. A set that such a folder
/// does not hold has no cases.
/// </summary>
public static class Golden
{
    /// <summary>The top of the repository.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>Whether the data is not the repository's own.</summary>
    public static bool IsElsewhere { get; } = Environment.GetEnvironmentVariable("BUILDKIT_GOLDEN_DIR") is { Length: > 0 };

    /// <summary>The folder that holds the sets.</summary>
    public static string Root { get; } = IsElsewhere
        ? System.IO.Path.GetFullPath(Environment.GetEnvironmentVariable("BUILDKIT_GOLDEN_DIR")!, Repository)
        : Own();

    /// <summary>A file or folder of a set.</summary>
    public static string Path(string set, params string[] parts) =>
        System.IO.Path.Combine([Root, set, .. parts]);

    /// <summary>A file or folder of the repository's own data, whatever is tested.</summary>
    public static string Own(params string[] parts) =>
        System.IO.Path.Combine([Repository, "tests", "golden", .. parts]);

    /// <summary>A JSON file of a set.</summary>
    public static JsonElement Json(string set, params string[] parts)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path(set, parts)));
        return document.RootElement.Clone();
    }

    /// <summary>The elements of a list in a set's <c>index.json</c>; <paramref name="list"/> is the way to it.</summary>
    public static IEnumerable<JsonElement> Index(string set, params string[] list) => List(Path(set, "index.json"), list);

    /// <summary>The elements of a list in any JSON file; none when the file is not there.</summary>
    public static IEnumerable<JsonElement> List(string file, params string[] list)
    {
        if (!File.Exists(file))
            return [];
        using var document = JsonDocument.Parse(File.ReadAllBytes(file));
        var element = document.RootElement;
        foreach (var member in list)
        {
            if (!element.TryGetProperty(member, out element))
                return [];
        }
        return [.. element.Clone().EnumerateArray()];
    }

    /// <summary>The <c>name</c> of each.</summary>
    public static TheoryData<string> Names(this IEnumerable<JsonElement> cases) =>
        [.. cases.Select(c => c.GetProperty("name").GetString()!)];

    /// <summary>The place of each in its list, for cases that have no name.</summary>
    public static TheoryData<int> Numbers(this IEnumerable<JsonElement> cases) => [.. cases.Select((_, number) => number)];

    private static string FindRepository()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "BuildKit.slnx")))
                return folder.FullName;
        throw new DirectoryNotFoundException($"no folder above {AppContext.BaseDirectory} holds BuildKit.slnx");
    }
}
