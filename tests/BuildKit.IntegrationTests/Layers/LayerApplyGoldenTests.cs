using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;

namespace BuildKit.IntegrationTests.Layers;

/// <summary>Every layer of the golden set unpacked on a plain directory and on an overlay.</summary>
public sealed class LayerApplyGoldenTests
{
    private const string PlainTar = "application/vnd.oci.image.layer.v1.tar";

    public static TheoryData<string> Cases() => [.. Golden.Index("layers", "cases", "apply").Select(c => c.GetProperty("file").GetString()!)];

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Cases))]
    public async Task Unpacking_on_a_plain_directory_gives_the_tree_of_the_reference(string name)
    {
        using var json = Load(name);
        using var temp = new TempDirectory();
        var root = temp.Sub("root");
        var lowers = json.RootElement.GetProperty("lowers").EnumerateArray().ToList();
        var names = new List<string> { "root" };
        if (lowers.Count == 1)
            GoldenTree.Create(root, lowers[0]);
        else if (lowers.Count > 1)
        {
            root = await GoldenTree.MergeAsync(temp, "merged", lowers);
            names = [.. Directory.GetFileSystemEntries(temp.Path).Select(p => Path.GetFileName(p)!)];
        }
        var expected = json.RootElement.GetProperty("plain");
        await Apply(json.RootElement, expected, [new MountSpec("bind", root, ["rw", "rbind"])], root);
        if (expected.TryGetProperty("tree", out var tree))
            Assert.Equal(GoldenTree.Expected(tree), GoldenTree.Describe(root, GoldenTree.NowPaths(tree)));
        AssertNothingOutside(temp, names);
    }

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Cases))]
    public async Task Unpacking_on_an_overlay_gives_the_upper_directory_of_the_reference(string name)
    {
        using var json = Load(name);
        if (!json.RootElement.TryGetProperty("overlay", out var expected))
            return;
        using var temp = new TempDirectory();
        var lowers = new List<string>();
        foreach (var layer in json.RootElement.GetProperty("lowers").EnumerateArray())
        {
            lowers.Insert(0, temp.Sub($"l{lowers.Count}"));
            GoldenTree.Create(lowers[0], layer);
        }
        var upper = temp.Sub("upper");
        temp.Sub("work");
        IReadOnlyList<MountSpec> mounts =
            [new MountSpec("overlay", "overlay", ["index=off", $"workdir={temp.Path}/work", $"upperdir={upper}", "lowerdir=" + string.Join(':', lowers)])];
        await Apply(json.RootElement, expected, mounts, upper);
        if (expected.TryGetProperty("upper", out var upperTree))
            Assert.Equal(GoldenTree.Expected(upperTree), GoldenTree.Describe(upper, GoldenTree.NowPaths(upperTree)));
        if (expected.TryGetProperty("merged", out var merged))
        {
            await using var mounted = MountedTree.Open(mounts, readOnly: true, temp.Path);
            Assert.Equal(GoldenTree.Expected(merged), GoldenTree.Describe(mounted.Root, GoldenTree.NowPaths(merged)));
        }
        AssertNothingOutside(temp, [.. lowers.Select(l => Path.GetFileName(l)!), "upper", "work"]);
    }

    private static async Task Apply(JsonElement golden, JsonElement expected, IReadOnlyList<MountSpec> mounts, string root)
    {
        var tar = GoldenTree.Unpack(golden.GetProperty("tarGz64"));
        if (!expected.TryGetProperty("error", out var error))
        {
            var digest = await LayerApply.ApplyAsync(new MemoryStream(tar), PlainTar, mounts, CancellationToken.None);
            Assert.Equal(golden.GetProperty("tarDigest").GetString(), digest.ToString());
            return;
        }
        var failure = await Assert.ThrowsAnyAsync<IOException>(() => LayerApply.ApplyAsync(new MemoryStream(tar), PlainTar, mounts, CancellationToken.None));
        var text = error.GetString()!.Replace("mount callback failed on <mount>: ", "", StringComparison.Ordinal)
            .Replace("<mount>", root, StringComparison.Ordinal).Replace("<upper>", root, StringComparison.Ordinal);
        Assert.Equal(text, failure.Message);
    }

    private static void AssertNothingOutside(TempDirectory temp, IEnumerable<string> names) =>
        Assert.Equal(names.Order(StringComparer.Ordinal), Directory.GetFileSystemEntries(temp.Path).Select(p => Path.GetFileName(p)!).Order(StringComparer.Ordinal));

    private static JsonDocument Load(string file) => JsonDocument.Parse(File.ReadAllBytes(Golden.Path("layers", file)));
}
