using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Backends.S3;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>The code does what the table of attributes says, and code, table and <c>docs/cache.md</c> know the same attributes.</summary>
public sealed partial class AttributeTableTests
{
    // Attributes that change which others are read.
    private static readonly string[] Uses = ["", "merge=true", "version=2", "repository=o/r,ghtoken=g", "tag=t", "-url,url_v2=http://@/"];

    private static readonly string Documentation = File.ReadAllText(Path.Combine(Golden.Repository, "docs", "cache.md"));

    [GeneratedRegex(@"^\| (?<names>(`[a-zA-Z0-9_.=-]+`(, )?)+) \| ((?<side>both|export|import) \| )?", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex DocumentedRow { get; }

    public static TheoryData<string, string> Sides()
    {
        var sides = new TheoryData<string, string>();
        foreach (var (type, side) in AttributeTable.Rows.Select(row => (row.Type, row.Side)).Distinct().Where(row => row.Type is not ("other" or "" or "inline")))
            sides.Add(type, side);
        return sides;
    }

    public static TheoryData<string, string, string, string, string, string, string> Rows()
    {
        var rows = new TheoryData<string, string, string, string, string, string, string>();
        foreach (var row in AttributeTable.Rows.DistinctBy(row => row with { Attribute = "" }))
            rows.Add(row.Type, row.Side, row.Given, row.Facet, row.Expected, row.Environment, row.Before);
        return rows;
    }

    [Theory]
    [MemberData(nameof(Rows))]
    public async Task An_attribute_does_what_the_table_says(string type, string side, string given, string facet, string expected, string environment, string before)
    {
        await using var probe = await AttributeProbe.StartAsync(new AttributeRow(type, side, "", given, facet, expected, environment, before));
        Assert.Equal(expected, await probe.OutcomeAsync());
    }

    [Theory]
    [MemberData(nameof(Sides))]
    public async Task Every_attribute_that_is_read_has_rows_in_the_table(string type, string side) => AssertSame(
        $"the attributes of a {type} {side}", await ReadAsync(type, side), "AttributeTable",
        AttributeTable.Rows.Where(row => row.Type == type && row.Side == side && row.Attribute.Length > 0).Select(row => row.Attribute).ToHashSet(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Sides))]
    public async Task Every_attribute_that_is_read_is_documented(string type, string side) =>
        AssertSame($"the attributes of a {type} {side}", await ReadAsync(type, side), "docs/cache.md", Documented(type, side));

    [Fact]
    public void Every_variable_that_fills_in_an_attribute_has_a_row_and_is_documented()
    {
        var asked = new ConcurrentDictionary<string, bool>(StringComparer.Ordinal);
        string? Ask(string name)
        {
            asked[name] = true;
            return "http://h";
        }
        var none = new Dictionary<string, string>(StringComparer.Ordinal);
        _ = (S3Config.Read(none, Ask), AzureBlobConfig.Read(none, Ask));
        Assert.Equal(6, asked.Count);
        Assert.All(asked.Keys, variable => Assert.Contains(AttributeTable.Rows, row => row.Environment.Contains(variable + "=", StringComparison.Ordinal)));
        Assert.All(asked.Keys, variable => Assert.Contains($"`${variable}`", Documentation, StringComparison.Ordinal));
    }

    private static void AssertSame(string what, HashSet<string> read, string place, HashSet<string> listed)
    {
        Assert.True(read.IsSubsetOf(listed), $"{what}: the code reads {string.Join(", ", read.Except(listed))}, {place} has none of it");
        Assert.True(listed.IsSubsetOf(read), $"{what}: {place} has {string.Join(", ", listed.Except(read))}, the code never reads it");
    }

    /// <summary>Attributes that the code asks for, in a few uses.</summary>
    private static async Task<HashSet<string>> ReadAsync(string type, string side)
    {
        var read = new HashSet<string>(StringComparer.Ordinal);
        foreach (var use in Uses)
        {
            // What leads elsewhere in this type of cache is left out.
            if (type != "gha" && use.Contains("url", StringComparison.Ordinal))
                continue;
            await using var probe = await AttributeProbe.StartAsync(new AttributeRow(type, side, "", use, "run", "", Before: side == "import" ? use : ""));
            await probe.RunAsync();
            read.UnionWith(probe.Asked);
        }
        return read;
    }

    /// <summary>Attributes in the tables of the documentation.</summary>
    private static HashSet<string> Documented(string type, string side)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var applies = false;
        foreach (var line in Documentation.Split('\n'))
        {
            if (line.StartsWith('#'))
            {
                applies = line.TrimStart('#', ' ') switch
                {
                    "Every export" => side == "export",
                    "Every import" => side == "import",
                    "GitHub Actions" => type == "gha",
                    "Sharing one cache" => side == "export",
                    var title => title == type,
                };
            }
            if (applies && DocumentedRow.Match(line) is { Success: true } row && (row.Groups["side"].Value is "" or "both" || row.Groups["side"].Value == side))
                names.UnionWith(row.Groups["names"].Value.Split(", ").Select(name => name.Trim('`').Split('=')[0]));
        }
        return names;
    }
}
