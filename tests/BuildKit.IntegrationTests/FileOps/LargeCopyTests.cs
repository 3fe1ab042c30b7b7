using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.FileOps;

namespace BuildKit.IntegrationTests.FileOps;

/// <summary>Copies of many files of all kinds.</summary>
public sealed class LargeCopyTests : IDisposable
{
    private const int Folders = 30;
    private const int FilesEach = 50;

    private readonly string _root = Directory.CreateTempSubdirectory("large-copy").FullName;

    /// <inheritdoc/>
    public void Dispose() => LinuxDirectory.RemoveTree(_root);

    [Fact]
    public async Task A_large_tree_arrives_with_all_its_contents_modes_times_attributes_and_links()
    {
        var source = Path.Combine(_root, "source");
        Fill(source);
        var target = Path.Combine(_root, "target");
        Directory.CreateDirectory(target);

        await CopyAsync(source, target, new FileActionCopy { Src = "/", Dest = "/", Mode = -1, Timestamp = -1, DirCopyContents = true, AllowWildcard = true });

        var expected = Describe(source);
        Assert.Equal((Folders * (FilesEach + 3)) + Folders, expected.Count);
        Assert.Equal(expected, Describe(target));
        Assert.True(LinuxFile.Lstat(target + "/d07/link").IsSameInode(LinuxFile.Lstat(target + "/d07/f00")));
    }

    [Fact]
    public async Task A_failure_among_many_files_is_told_with_its_own_message()
    {
        var source = Path.Combine(_root, "source");
        Fill(source);
        var target = Path.Combine(_root, "target");
        // A directory in the way of a file.
        Directory.CreateDirectory(target + "/d20/f30");

        var failure = await Assert.ThrowsAsync<IOException>(() => CopyAsync(
            source, target, new FileActionCopy { Src = "/", Dest = "/", Mode = -1, Timestamp = -1, DirCopyContents = true }));

        Assert.Equal($"cannot replace to directory {target}/d20/f30 with file", failure.Message);
    }

    private static Task CopyAsync(string source, string target, FileActionCopy action) =>
        FileOperations.CopyAsync(target, source, action, owner: null, CancellationToken.None);

    private static void Fill(string root)
    {
        for (var d = 0; d < Folders; d++)
        {
            var folder = Path.Combine(root, $"d{d:D2}");
            Directory.CreateDirectory(folder);
            for (var f = 0; f < FilesEach; f++)
            {
                var file = Path.Combine(folder, $"f{f:D2}");
                // Empty, small, and too large for the copy through memory.
                File.WriteAllBytes(file, [.. Enumerable.Repeat((byte)(d + f), f switch { 0 => 5, 1 => 0, 2 => 300_000, 3 => 64 << 10, _ => d * f })]);
                LinuxFile.Chmod(file, (f % 3) switch { 0 => 0x1A4u, 1 => 0x9EDu, _ => 0x100u });
                LinuxFile.SetTimes(file, new UnixTime(1_000_000 + f, 5), new UnixTime(2_000_000 + d, f));
            }
            Xattr.Set(Path.Combine(folder, "f04"), "user.test", "value"u8);
            LinuxFile.Link(LinuxFile.Cwd, Path.Combine(folder, "f00"), LinuxFile.Cwd, Path.Combine(folder, "link"));
            LinuxFile.Symlink("f01", LinuxFile.Cwd, Path.Combine(folder, "symlink"));
            LinuxFile.Mknod(LinuxFile.Cwd, Path.Combine(folder, "pipe"), UnixMode.Fifo | 0x1A4);
            LinuxFile.Chmod(folder, 0x1C0);
            LinuxFile.SetTimes(folder, new UnixTime(1, 0), new UnixTime(3_000_000 + d, 7));
        }
    }

    private static List<string> Describe(string root)
    {
        var entries = new List<string>();
        foreach (var path in Directory.EnumerateFileSystemEntries(root, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            var stat = LinuxFile.Lstat(path);
            var content = stat.IsRegular ? Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path))) : "";
            var attributes = stat.IsSymlink ? "" : string.Join(',', Xattr.List(path));
            var times = stat.IsSymlink ? "" : $"{stat.Mtime.Seconds}.{stat.Mtime.Nanoseconds}";
            entries.Add($"{Path.GetRelativePath(root, path)} {stat.Mode:X} {stat.Uid}:{stat.Gid} {stat.Links} {times} {attributes} {content}");
        }
        return entries;
    }
}
