using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Snapshots;

namespace BuildKit.IntegrationTests.Layers;

/// <summary>Every diff of the golden set, byte for byte, by each way of computing it.</summary>
public sealed class LayerDiffGoldenTests
{
    public static TheoryData<string> Cases() => [.. Golden.Index("layers", "cases", "diff").Select(c => c.GetProperty("file").GetString()!)];

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Cases))]
    public async Task The_layer_of_an_overlay_has_the_bytes_of_the_reference(string name)
    {
        using var json = Load(name);
        using var temp = new TempDirectory();
        var (lower, upper) = OverlayMounts(temp, json.RootElement);
        var result = json.RootElement.TryGetProperty("overlayfsSnapshotterResult", out var way) ? way.GetString()! : "overlay";
        var key = result == "error" ? "walkPlain" : result; // ours is right where the reference fails
        await AssertDiff(json.RootElement, key, lower, upper, LayerDiffOptions.Default);
    }

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Cases))]
    public async Task The_layer_of_two_mounted_trees_has_the_bytes_of_the_reference(string name)
    {
        using var json = Load(name);
        using var temp = new TempDirectory();
        var (lower, upper) = OverlayMounts(temp, json.RootElement);
        // Names of whiteouts in directories that are not merged stop the reference; ours is right.
        var key = json.RootElement.TryGetProperty("walkMounted", out var mounted) && mounted.TryGetProperty("error", out _) ? "walkPlain" : "walkMounted";
        if (!json.RootElement.TryGetProperty(key, out _))
            return; // stands for the first way only
        await AssertDiff(json.RootElement, key, lower, upper, new LayerDiffOptions { ForceWalk = true });
    }

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Cases))]
    public async Task The_layer_of_two_plain_directories_has_the_bytes_of_the_reference(string name)
    {
        using var json = Load(name);
        using var temp = new TempDirectory();
        if (!json.RootElement.TryGetProperty("walkPlain", out _))
            return; // stands for the first way only
        var merged = temp.Sub("merged");
        GoldenTree.Create(merged, json.RootElement.GetProperty("merged"));
        var lowers = json.RootElement.GetProperty("lowers").EnumerateArray().ToList();
        IReadOnlyList<MountSpec>? lower = null;
        if (lowers.Count == 1)
        {
            GoldenTree.Create(temp.Sub("lower"), lowers[0]);
            lower = [Bind(temp.Path + "/lower")];
        }
        else if (lowers.Count > 1)
            lower = [Bind(await GoldenTree.MergeAsync(temp, "lower", lowers))];
        await AssertDiff(json.RootElement, "walkPlain", lower, [Bind(merged)], new LayerDiffOptions { ForceWalk = true });
    }

    private static MountSpec Bind(string path) => new("bind", path, ["ro", "rbind"]);

    private static (IReadOnlyList<MountSpec>? Lower, IReadOnlyList<MountSpec> Upper) OverlayMounts(TempDirectory temp, JsonElement golden)
    {
        var directories = new List<string>();
        foreach (var layer in golden.GetProperty("lowers").EnumerateArray())
        {
            directories.Insert(0, temp.Sub($"l{directories.Count}"));
            GoldenTree.Create(directories[0], layer);
        }
        var upper = temp.Sub("upper");
        GoldenTree.Create(upper, golden.GetProperty("upper"));
        IReadOnlyList<MountSpec>? lower = directories.Count == 0 ? null : [View(directories)];
        return (lower, [View([upper, .. directories])]);

        static MountSpec View(List<string> layers) => layers.Count == 1
            ? Bind(layers[0])
            : new MountSpec("overlay", "overlay", ["index=off", "lowerdir=" + string.Join(':', layers)]);
    }

    private static async Task AssertDiff(JsonElement golden, string key, IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper, LayerDiffOptions options)
    {
        var expected = golden.GetProperty(key);
        while (expected.TryGetProperty("sameAs", out var same))
            expected = golden.GetProperty(same.GetString()!);
        if (expected.TryGetProperty("head64", out var head))
        {
            var start = new HeadStream(head.GetBytesFromBase64().Length);
            await Assert.ThrowsAsync<OperationCanceledException>(() => LayerDiff.WriteAsync(lower, upper, start, options, CancellationToken.None));
            Assert.Equal(head.GetBytesFromBase64(), start.ToArray()[..head.GetBytesFromBase64().Length]);
            return;
        }
        var tar = new MemoryStream();
        await LayerDiff.WriteAsync(lower, upper, tar, options, CancellationToken.None);
        var digest = Digest.Sha256(tar.ToArray()).ToString();
        if (expected.TryGetProperty("tarGz64", out var packed) && digest != expected.GetProperty("diffID").GetString())
            Assert.Equal(await TarListing.Of(GoldenTree.Unpack(packed)), await TarListing.Of(tar.ToArray()));
        Assert.Equal(expected.GetProperty("diffID").GetString(), digest);
    }

    private static JsonDocument Load(string file) => JsonDocument.Parse(File.ReadAllBytes(Golden.Path("layers", file)));

    /// <summary>Takes the first bytes, then refuses.</summary>
    private sealed class HeadStream(int length) : MemoryStream
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Write(buffer.Span);
            return Length < length ? ValueTask.CompletedTask : throw new OperationCanceledException();
        }
    }
}
