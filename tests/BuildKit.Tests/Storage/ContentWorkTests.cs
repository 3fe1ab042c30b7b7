using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Checksums;

namespace BuildKit.Tests.Storage;

/// <summary>How much of a tree is read for a checksum: counted, not timed.</summary>
public sealed class ContentWorkTests : IDisposable
{
    private const int Directories = 100, FilesEach = 1000;

    private readonly string _root = Directory.CreateTempSubdirectory("content-").FullName;

    [Fact]
    public async Task Of_a_hundred_thousand_files_only_those_asked_for_are_hashed_and_only_once()
    {
        for (var d = 0; d < Directories; d++)
        {
            var directory = Directory.CreateDirectory(Path.Combine(_root, $"d{d:00}")).FullName;
            for (var f = 0; f < FilesEach; f++)
                File.OpenHandle(Path.Combine(directory, $"f{f:000}.{(f % 10 == 0 ? "md" : "txt")}"), FileMode.CreateNew, FileAccess.Write).Dispose();
        }
        var tree = ContentTree.ForDisk();

        var first = await AskAsync(tree, "/d07", new ChecksumOptions());
        Assert.Equal((FilesEach, 2), (first.Work.Files, first.Work.Directories));
        var again = await AskAsync(tree, "/d07", new ChecksumOptions());
        Assert.Equal((first.Digest, 0, 0), (again.Digest, again.Work.Files, again.Work.Directories));

        // One file more of another directory, found by name.
        Assert.Equal(1, (await AskAsync(tree, "/d08/f001.txt", new ChecksumOptions())).Work.Files);
        Assert.Equal(0, (await AskAsync(tree, "/d08/f001.txt", new ChecksumOptions(FollowLinks: true))).Work.Files);

        // A wildcard reads the directories it can lead to, and hashes what it matches.
        var wild = await AskAsync(tree, "/d0*/f00?.md", new ChecksumOptions(Wildcard: true));
        Assert.Equal((9, 8), (wild.Work.Files, wild.Work.Directories)); // d07 is hashed, d07 and d08 are listed
        Assert.Equal(0, (await AskAsync(tree, "/*.txt", new ChecksumOptions(Wildcard: true))).Work.Directories);

        // Patterns: the other files of the directory are not read.
        var included = await AskAsync(tree, "/d20", new ChecksumOptions { IncludePatterns = ["*.md"] });
        Assert.Equal((FilesEach / 10, 1), (included.Work.Files, included.Work.Directories));

        // After a restart all that is known still is.
        var loaded = ContentTree.Load(tree.Save());
        Assert.Equal(tree.NodeCount, loaded.NodeCount);
        var restarted = await AskAsync(loaded, "/d07", new ChecksumOptions());
        Assert.Equal((first.Digest, 0, 0), (restarted.Digest, restarted.Work.Files, restarted.Work.Directories));

        var whole = await AskAsync(loaded, "/", new ChecksumOptions());
        Assert.Equal((Directories * FilesEach) - FilesEach - 1 - 9 - (FilesEach / 10), whole.Work.Files);
        Assert.Equal(whole.Digest, (await AskAsync(ContentTree.ForDisk(), "/", new ChecksumOptions())).Digest);
    }

    public void Dispose() => LinuxDirectory.RemoveTree(_root);

    private async Task<(Digest Digest, ChecksumWork Work)> AskAsync(ContentTree tree, string path, ChecksumOptions options)
    {
        using var root = LinuxFile.OpenDirectory(_root);
        var disk = new DiskAccess(() => ValueTask.FromResult(root));
        var digest = await new ContentQuery(tree, disk).ComputeAsync(path, options, default);
        return (digest, disk.Work);
    }
}
