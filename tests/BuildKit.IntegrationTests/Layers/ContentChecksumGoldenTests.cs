using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Checksums;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.IntegrationTests.Layers;

/// <summary>Every content digest of the golden set, read from trees on disk and from transferred ones.</summary>
public sealed class ContentChecksumGoldenTests
{
    public static TheoryData<int> Queries() => Golden.List(Golden.Path("cachekeys", "contenthash.json"), "vectors").Numbers();

    public static TheoryData<string> Trees() =>
        File.Exists(Golden.Path("cachekeys", "contenthash.json")) ? [.. Set().GetProperty("trees").EnumerateObject().Select(tree => tree.Name)] : [];

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Queries))]
    public async Task A_query_on_disk_gives_the_digest_of_the_reference(int index)
    {
        var set = Set();
        var vector = set.GetProperty("vectors")[index];
        using var temp = new TempDirectory();
        var root = temp.Sub("t");
        Create(root, set.GetProperty("trees").GetProperty(vector.GetProperty("tree").GetString()!));
        var metadata = new Metadata();
        await AssertQuery(vector, new ContentChecksum(), new Ref(root, metadata));
        // What was kept answers again without the disk.
        if (metadata.Saved is not null)
            await AssertQuery(vector, new ContentChecksum(), new Ref(null, metadata));
    }

    [RequiresGoldenTheory("root")]
    [MemberData(nameof(Trees))]
    public async Task Every_entry_on_disk_has_the_digests_of_the_reference(string name)
    {
        var tree = Set().GetProperty("trees").GetProperty(name);
        using var temp = new TempDirectory();
        var root = temp.Sub("t");
        Create(root, tree);
        var checksum = new ContentChecksum();
        foreach (var entry in tree.EnumerateArray())
        {
            var digest = await checksum.ComputeAsync(new Ref(root, new Metadata()), entry.GetProperty("path").GetString()!, new ChecksumOptions(), CancellationToken.None);
            Assert.Equal((entry.GetProperty("path").GetString(), entry.GetProperty("digest").GetString()), (entry.GetProperty("path").GetString(), digest.ToString()));
        }
    }

    [RequiresFact("root")]
    public async Task Trees_that_are_kept_do_not_pile_up_in_memory_and_are_not_read_again()
    {
        const int Limit = 500, Files = 100;
        using var temp = new TempDirectory();
        var root = temp.Sub("t");
        for (var i = 0; i < Files; i++)
            await File.WriteAllTextAsync($"{root}/{i}", "x");
        var checksum = new ContentChecksum(mostIdleNodes: Limit);
        var refs = Enumerable.Range(0, 30).Select(i => new Ref(root, new Metadata(), $"r{i}")).ToList();
        foreach (var reference in refs)
        {
            await checksum.ComputeAsync(reference, "/", new ChecksumOptions(), CancellationToken.None);
            Assert.InRange(checksum.NodesInMemory, 1, Limit);
        }
        Assert.Equal((refs.Count * Files, refs.Count), (checksum.Work.Files, checksum.Work.Directories));
        foreach (var reference in refs)
            await checksum.ComputeAsync(reference, "/", new ChecksumOptions(), CancellationToken.None);
        Assert.Equal((refs.Count * Files, refs.Count), (checksum.Work.Files, checksum.Work.Directories));
    }

    private static JsonElement Set() => Golden.Json("cachekeys", "contenthash.json");

    private static async Task AssertQuery(JsonElement vector, ContentChecksum checksum, Ref reference)
    {
        var options = new ChecksumOptions(vector.GetProperty("followLinks").GetBoolean(), vector.GetProperty("wildcard").GetBoolean())
        {
            IncludePatterns = Texts("include"),
            ExcludePatterns = Texts("exclude"),
        };
        var query = checksum.ComputeAsync(reference, vector.GetProperty("path").GetString()!, options, CancellationToken.None);
        if (vector.TryGetProperty("error", out var error))
            Assert.Equal(error.GetString(), (await Assert.ThrowsAnyAsync<IOException>(() => query)).Message);
        else
            Assert.Equal(vector.GetProperty("digest").GetString(), (await query).ToString());

        List<string> Texts(string name) => [.. vector.GetProperty(name).EnumerateArray().Select(e => e.GetString()!)];
    }

    private static void Create(string root, JsonElement tree)
    {
        using var dir = LinuxFile.OpenDirectory(root);
        foreach (var entry in tree.EnumerateArray())
        {
            var path = entry.GetProperty("path").GetString()!.TrimStart('/');
            var name = path.Length == 0 ? "." : path;
            var type = entry.GetProperty("type").GetString();
            switch (type)
            {
                case "dir" when name != ".":
                    LinuxFile.Mkdir(dir, name, 0x1C0);
                    break;
                case "dir":
                    break;
                case "file":
                    using (var file = LinuxFile.Open(dir, name, OpenFlags.WriteOnly | OpenFlags.Create, 0x180))
                        RandomAccess.Write(file, entry.GetProperty("content_base64").GetBytesFromBase64(), 0);
                    break;
                case "symlink":
                    LinuxFile.Symlink(entry.GetProperty(entry.TryGetProperty("linkname", out _) ? "linkname" : "target").GetString()!, dir, name);
                    break;
                default:
                    var kind = type switch { "fifo" => UnixMode.Fifo, "block" => UnixMode.Block, "socket" => UnixMode.Socket, _ => UnixMode.Char };
                    LinuxFile.Mknod(dir, name, kind | 0x180, Number("major", "devmajor"), Number("minor", "devminor"));
                    break;
            }
            LinuxFile.Lchown(dir, name, entry.GetProperty("uid").GetUInt32(), entry.GetProperty("gid").GetUInt32());
            if (entry.TryGetProperty("xattrs_base64", out var xattrs))
            {
                foreach (var attribute in xattrs.EnumerateObject())
                    Assert.Equal(Errno.None, Xattr.TrySet(dir, name, attribute.Name, attribute.Value.GetBytesFromBase64()));
            }
            if (type != "symlink")
                LinuxFile.Chmod(dir, name, Convert.ToUInt32(entry.GetProperty("mode").GetString(), 8));

            uint Number(string first, string second) =>
                entry.TryGetProperty(first, out var n) || entry.TryGetProperty(second, out n) ? n.GetUInt32() : 0;
        }
    }

    private sealed class Ref(string? root, Metadata metadata, string id = "r") : IImmutableRef, IMountable
    {
        public string Id => id;

        public IRefMetadata Metadata => metadata;

        public Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken) => Task.FromResult<IMountable>(this);

        public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) => root is null
            ? throw new InvalidOperationException("the disk is not needed")
            : Task.FromResult(new MountLease([new MountSpec("bind", root, ["ro", "rbind"])], () => ValueTask.CompletedTask));

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        public IImmutableRef Clone() => this;

        public Task ExtractAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task FinalizeAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public IReadOnlyList<IImmutableRef> LayerChain() => [this];

        public Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(bool createIfNeeded, CompressionOptions compression, bool all, CancellationToken cancellationToken) =>
            Task.FromResult<IReadOnlyList<RemoteLayers>>([]);
    }

    private sealed class Metadata : IRefMetadata
    {
        public byte[]? Saved { get; private set; }

        public string Id => "r";

        public string Description { get; set; } = "";

        public string RecordType { get; set; } = "";

        public DateTimeOffset CreatedAt { get; set; }

        public bool Retain { get; set; }

        public string? Get(string key) => null;

        public void Set(string key, string? value, string? index = null)
        {
        }

        public byte[]? GetBlob(string key) => Saved;

        public void SetBlob(string key, ReadOnlySpan<byte> value) => Saved = value.ToArray();
    }
}
