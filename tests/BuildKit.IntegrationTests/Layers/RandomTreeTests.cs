using System.Diagnostics;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;
using FsCheck;
using FsCheck.Fluent;

namespace BuildKit.IntegrationTests.Layers;

/// <summary>Laws that hold for any two trees.</summary>
public sealed class RandomTreeTests
{
    private const string PlainTar = "application/vnd.oci.image.layer.v1.tar";

    [RequiresFact("root", "cp")]
    public void Applying_the_difference_to_the_lower_tree_gives_the_upper_tree() => ForAnyTwoTrees(async (temp, lower, upper) =>
    {
        var tar = new MemoryStream();
        await LayerDiff.WriteAsync([Bind(lower)], [Bind(upper)], tar, new LayerDiffOptions { ForceWalk = true }, CancellationToken.None);
        var target = CopyOf(lower, temp.Path + "/target");
        await LayerApply.ApplyAsync(new MemoryStream(tar.ToArray()), PlainTar, [Bind(target)], CancellationToken.None);
        AssertSame(upper, target);
    });

    [RequiresFact("root", "cp")]
    public void Applying_the_difference_to_an_overlay_gives_the_upper_tree_and_the_same_difference_again() => ForAnyTwoTrees(async (temp, lower, upper) =>
    {
        var tar = new MemoryStream();
        await LayerDiff.WriteAsync([Bind(lower)], [Bind(upper)], tar, new LayerDiffOptions { ForceWalk = true }, CancellationToken.None);
        var mounts = Overlay(temp, lower);
        await LayerApply.ApplyAsync(new MemoryStream(tar.ToArray()), PlainTar, mounts, CancellationToken.None);
        await using (var merged = MountedTree.Open(mounts, readOnly: true, temp.Path))
            AssertSame(upper, merged.Root);
        var again = new MemoryStream();
        await LayerDiff.WriteAsync([Bind(lower)], [MountedTree.ReadOnly(mounts[0])], again, LayerDiffOptions.Default, CancellationToken.None);
        Assert.Equal(await TarListing.Of(tar.ToArray()), await TarListing.Of(again.ToArray()));
        Assert.Equal(tar.ToArray(), again.ToArray());
    });

    [RequiresFact("root", "cp")]
    public void Merging_the_difference_onto_the_lower_tree_gives_the_upper_tree() => ForAnyTwoTrees(async (temp, lower, upper) =>
    {
        var target = CopyOf(lower, temp.Path + "/target");
        await MergeApply.ApplyAsync([Bind(lower)], [Bind(upper)], [Bind(target)], LayerDiffOptions.Default, CancellationToken.None);
        AssertSame(upper, target);
        var mounts = Overlay(temp, lower);
        await MergeApply.ApplyAsync([Bind(lower)], [Bind(upper)], mounts, LayerDiffOptions.Default, CancellationToken.None);
        await using var merged = MountedTree.Open(mounts, readOnly: true, temp.Path);
        AssertSame(upper, merged.Root);
    });

    private static void ForAnyTwoTrees(Func<TempDirectory, string, string, Task> law) =>
        Prop.ForAll<int>(seed =>
        {
            using var temp = new TempDirectory();
            var random = new System.Random(seed);
            var lower = temp.Sub("lower");
            Grow(lower, random, depth: 3);
            var upper = CopyOf(lower, temp.Path + "/upper");
            Change(upper, random);
            law(temp, lower, upper).GetAwaiter().GetResult();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(40));

    /// <summary>Few names, so that kinds of one path change often.</summary>
    private static void Grow(string directory, System.Random random, int depth)
    {
        foreach (var name in new[] { "a", "b", "a-b", "é" })
            MakeAny(directory + "/" + name, random, depth);
    }

    private static void MakeAny(string path, System.Random random, int depth)
    {
        switch (random.Next(6))
        {
            case 0 or 1 when depth > 0:
                LinuxFile.Mkdir(path, 0x1ED);
                Grow(path, random, depth - 1);
                LinuxFile.Chmod(path, random.Next(2) == 0 ? 0x1EDu : 0x3FFu);
                break;
            case 2:
                LinuxFile.Symlink(random.Next(2) == 0 ? "a" : "/b/../..", LinuxFile.Cwd, path);
                break;
            case 3:
                LinuxFile.Mknod(LinuxFile.Cwd, path, UnixMode.Fifo | 0x1A4);
                break;
            case 4:
                return;
            default:
                File.WriteAllText(path, new string('x', random.Next(2000)));
                LinuxFile.Lchown(path, (uint)random.Next(3) * 1000, 7);
                break;
        }
        var time = new UnixTime(1_600_000_000 + random.Next(1000), 0);
        if (LinuxFile.TryLstat(path, out _))
            LinuxFile.SetTimes(path, time, time);
    }

    private static void Change(string directory, System.Random random)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(directory))
        {
            var path = directory + "/" + entry.Name;
            switch (random.Next(5))
            {
                case 0:
                    LinuxDirectory.RemoveTree(path);
                    MakeAny(path, random, 2);
                    break;
                case 1:
                    LinuxDirectory.RemoveTree(path);
                    break;
                default:
                    if (entry.Type == UnixMode.Directory)
                        Change(path, random);
                    break;
            }
        }
        if (!LinuxFile.TryLstat(directory + "/new", out _))
            MakeAny(directory + "/new", random, 1);
    }

    private static MountSpec Bind(string path) => new("bind", path, ["rbind"]);

    private static IReadOnlyList<MountSpec> Overlay(TempDirectory temp, string lower)
    {
        var upper = temp.Sub("u");
        return [new MountSpec("overlay", "overlay", ["index=off", $"workdir={temp.Sub("w")}", $"upperdir={upper}", $"lowerdir={lower}"])];
    }

    private static string CopyOf(string from, string to)
    {
        using var cp = Process.Start("cp", ["-a", from, to]);
        cp.WaitForExit();
        Assert.Equal(0, cp.ExitCode);
        return to;
    }

    /// <summary>Times of directories are no part of a difference.</summary>
    private static void AssertSame(string expected, string actual)
    {
        var directories = GoldenTree.Describe(expected, []).Where(l => l.Contains("|dir|", StringComparison.Ordinal)).Select(l => l[..l.IndexOf('|', StringComparison.Ordinal)]).ToList();
        Assert.Equal(GoldenTree.Describe(expected, directories), GoldenTree.Describe(actual, directories));
    }
}
