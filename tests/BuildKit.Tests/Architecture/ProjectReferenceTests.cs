using System.Text.RegularExpressions;
using System.Xml.Linq;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Architecture;

/// <summary>The projects use each other only as the table in <c>docs/architecture.md</c> allows.</summary>
public sealed partial class ProjectReferenceTests
{
    [GeneratedRegex(@"^\| `src/BuildKit\.(?<name>\w+)` \|.*\| (?<uses>[^|]*) \|$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Row { get; }

    public static TheoryData<string> Projects => [.. Names];

    private static IEnumerable<string> Names => Directory.GetFiles(Path.Combine(Golden.Repository, "src"), "*.csproj", SearchOption.AllDirectories).Select(static path => ShortName(path)).Order(StringComparer.Ordinal);

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_references_only_what_the_architecture_allows(string project)
    {
        var allowed = Allowed();
        Assert.True(allowed.TryGetValue(project, out var uses), $"docs/architecture.md has no row for src/BuildKit.{project}");
        var references = XDocument.Load(Path.Combine(Golden.Repository, "src", "BuildKit." + project, $"BuildKit.{project}.csproj"))
            .Descendants("ProjectReference").Select(static reference => ShortName(reference.Attribute("Include")!.Value));
        Assert.Empty(references.Except(uses, StringComparer.Ordinal));
    }

    [Fact]
    public void The_table_lists_every_project_and_names_only_earlier_rows()
    {
        var allowed = Allowed();
        Assert.Equal(Names, allowed.Keys.Order(StringComparer.Ordinal));
        var above = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (project, uses) in allowed)
        {
            Assert.Empty(uses.Except(above, StringComparer.Ordinal));
            above.Add(project);
        }
    }

    /// <summary>What each project may use, in the order of the table.</summary>
    private static OrderedRows Allowed()
    {
        var rows = new OrderedRows();
        foreach (var line in File.ReadLines(Path.Combine(Golden.Repository, "docs", "architecture.md")))
        {
            if (Row.Match(line) is not { Success: true } row)
                continue;
            var cell = row.Groups["uses"].Value;
            // Remarks in parentheses do not name projects.
            cell = Regex.Replace(cell, @"\s*\([^)]*\)", "", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(10)).Trim();
            IEnumerable<string> uses = cell switch
            {
                "–" => [],
                "all above" => rows.Keys,
                _ when cell.StartsWith("all above but ", StringComparison.Ordinal) => rows.Keys.Except(Listed(cell["all above but ".Length..]), StringComparer.Ordinal),
                _ => Listed(cell),
            };
            rows.Add(row.Groups["name"].Value, [.. uses]);
        }
        return rows;
    }

    private static string[] Listed(string cell) => cell.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static string ShortName(string path) => Path.GetFileNameWithoutExtension(path.Replace('\\', '/'))["BuildKit.".Length..];

    private sealed class OrderedRows : System.Collections.ObjectModel.KeyedCollection<string, KeyValuePair<string, string[]>>
    {
        public IEnumerable<string> Keys => this.Select(static row => row.Key);

        public void Add(string project, string[] uses) => Add(KeyValuePair.Create(project, uses));

        public bool TryGetValue(string project, out string[] uses)
        {
            var found = TryGetValue(project, out KeyValuePair<string, string[]> row);
            uses = found ? row.Value : [];
            return found;
        }

        protected override string GetKeyForItem(KeyValuePair<string, string[]> item) => item.Key;
    }
}
