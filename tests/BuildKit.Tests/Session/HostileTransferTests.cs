using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSync;

namespace BuildKit.Tests.Session;

public sealed class HostileTransferTests
{
    private const uint File0644 = 0x1A4;
    private const uint Directory0755 = GoFileMode.Directory | 0x1ED;

    [Theory]
    [InlineData("..")]
    [InlineData(".")]
    [InlineData("../x")]
    [InlineData("a/../../x")]
    [InlineData("/etc/x")]
    [InlineData("a//b")]
    [InlineData("./a")]
    [InlineData("a/")]
    [InlineData("")]
    [InlineData("a\0b")]
    public async Task A_path_that_is_not_clean_is_refused(string path)
    {
        using var destination = new TemporaryDirectory();
        await Assert.ThrowsAsync<FileSyncException>(() => ReceiveAsync(destination.Path, [Entry(path)]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(destination.Path));
    }

    [Fact]
    public async Task A_file_below_a_sent_symlink_is_refused()
    {
        using var destination = new TemporaryDirectory();
        using var outside = new TemporaryDirectory();
        var link = new SyncStat { Path = "a", Mode = GoFileMode.Symlink | 0x1FF, Linkname = outside.Path };
        await Assert.ThrowsAsync<FileSyncException>(() => ReceiveAsync(destination.Path, [FileSyncMessage.ForStat(link), Entry("a/b")]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(outside.Path));
    }

    [Fact]
    public async Task An_existing_link_to_a_directory_is_replaced_not_followed()
    {
        using var destination = new TemporaryDirectory();
        using var outside = new TemporaryDirectory();
        File.WriteAllText(outside.Path + "/keep", "x");
        LinuxFile.Symlink(outside.Path, LinuxFile.Cwd, destination.Path + "/d");
        var directory = FileSyncMessage.ForStat(Owned(new SyncStat { Path = "d", Mode = Directory0755 }));
        await ReceiveAsync(destination.Path, [directory, Entry("d/f"), FileSyncMessage.ForStat(null), FileSyncMessage.ForData(1, "hi"u8.ToArray()), FileSyncMessage.ForData(1, default)]);
        Assert.Equal(["keep"], Directory.EnumerateFileSystemEntries(outside.Path).Select(Path.GetFileName));
        Assert.Equal("hi", File.ReadAllText(destination.Path + "/d/f"));
        Assert.False(LinuxFile.Lstat(destination.Path + "/d").IsSymlink);
    }

    [Fact]
    public async Task Content_that_nobody_requested_is_refused()
    {
        using var destination = new TemporaryDirectory();
        var failure = await Assert.ThrowsAsync<FileSyncException>(() => ReceiveAsync(destination.Path, [FileSyncMessage.ForData(7, "x"u8.ToArray())]));
        Assert.Equal("invalid file request 7", failure.Message);
    }

    [Fact]
    public async Task Content_after_its_end_is_refused()
    {
        using var destination = new TemporaryDirectory();
        FileSyncMessage[] messages = [Entry("a"), FileSyncMessage.ForData(0, default), FileSyncMessage.ForData(0, "x"u8.ToArray())];
        await Assert.ThrowsAsync<FileSyncException>(() => ReceiveAsync(destination.Path, messages));
    }

    [Fact]
    public async Task The_end_before_all_content_is_a_failure()
    {
        using var destination = new TemporaryDirectory();
        await Assert.ThrowsAsync<FileSyncException>(() => ReceiveAsync(destination.Path, [Entry("a"), FileSyncMessage.ForStat(null), FileSyncMessage.ForFin()]));
    }

    [Fact]
    public async Task Malformed_stats_are_a_failure()
    {
        Assert.Throws<InvalidDataException>(() => SyncStatCodec.Decode([0x0A, 0x7F, 0x41]));
        Assert.Throws<InvalidDataException>(() => SyncStatCodec.Decode([0x10, 0x80]));
        Assert.Equal("x", SyncStatCodec.Decode([0x0A, 0x01, (byte)'x', 0x78, 0x01]).Path);
        await Task.CompletedTask;
    }

    [Fact]
    public async Task More_files_than_may_be_open_arrive_whole_when_their_content_is_interleaved()
    {
        using var destination = new TemporaryDirectory();
        var messages = new List<FileSyncMessage>();
        for (var i = 0; i < 300; i++)
            messages.Add(FileSyncMessage.ForStat(Owned(new SyncStat { Path = $"f{i:D3}", Mode = 0x124 })));
        messages.Add(FileSyncMessage.ForStat(null));
        for (var round = 0; round < 3; round++)
        {
            for (uint i = 0; i < 300; i++)
                messages.Add(FileSyncMessage.ForData(i, new[] { (byte)('a' + round) }));
        }
        for (uint i = 0; i < 300; i++)
            messages.Add(FileSyncMessage.ForData(i, default));
        await ReceiveAsync(destination.Path, messages);
        Assert.Equal(300, Directory.GetFiles(destination.Path).Length);
        Assert.All(Directory.GetFiles(destination.Path), file => Assert.Equal("abc", File.ReadAllText(file)));
        Assert.All(Directory.GetFiles(destination.Path), file => Assert.Equal(0x124u, LinuxFile.Lstat(file).Permissions));
    }

    [Fact]
    public async Task A_link_to_a_file_whose_content_is_still_to_come_is_one_with_it()
    {
        using var destination = new TemporaryDirectory();
        var link = FileSyncMessage.ForStat(Owned(new SyncStat { Path = "b", Mode = File0644, Size = 2, Linkname = "a" }));
        FileSyncMessage[] messages =
        [
            Entry("a"), link, FileSyncMessage.ForStat(null), FileSyncMessage.ForData(0, "hi"u8.ToArray()), FileSyncMessage.ForData(0, default),
        ];
        await ReceiveAsync(destination.Path, messages);
        Assert.Equal("hi", File.ReadAllText(destination.Path + "/b"));
        Assert.True(LinuxFile.Lstat(destination.Path + "/a").IsSameInode(LinuxFile.Lstat(destination.Path + "/b")));
    }

    [Fact]
    public async Task A_file_takes_the_place_of_a_directory_with_all_it_holds()
    {
        using var destination = new TemporaryDirectory();
        Directory.CreateDirectory(destination.Path + "/a/b");
        File.WriteAllText(destination.Path + "/a/b/c", "x");
        await ReceiveAsync(destination.Path, [Entry("a"), FileSyncMessage.ForStat(null), FileSyncMessage.ForData(0, "hi"u8.ToArray()), FileSyncMessage.ForData(0, default)]);
        Assert.Equal(["a"], Directory.EnumerateFileSystemEntries(destination.Path).Select(Path.GetFileName));
        Assert.Equal("hi", File.ReadAllText(destination.Path + "/a"));
    }

    [Fact]
    public async Task A_request_for_an_unknown_id_fails_the_sender()
    {
        using var source = new TemporaryDirectory();
        File.WriteAllText(source.Path + "/a", "x");
        var channel = new InMemoryChannel(FileSyncProvider.Create(new Dictionary<string, LocalDirectory>(StringComparer.Ordinal) { ["context"] = new(source.Path) }));
        await using var call = channel.Open(FileSyncCalls.Receive, new CallOptions(FilterHeaders.Write("context", FilterOptions.All)), CancellationToken.None);
        await call.SendAsync(FileSyncMessage.ForRequest(5), CancellationToken.None);
        var failure = await Assert.ThrowsAsync<RpcException>(async () =>
        {
            while (await call.ReadAsync(CancellationToken.None) is not null)
            {
            }
        });
        Assert.Equal("invalid file id 5", failure.Message);
    }

    private static FileSyncMessage Entry(string path) => FileSyncMessage.ForStat(Owned(new SyncStat { Path = path, Mode = File0644, Size = 1 }));

    private static SyncStat Owned(SyncStat stat) => stat with { Uid = LinuxProcess.EffectiveUserId, Gid = LinuxProcess.EffectiveGroupId };

    private static Task ReceiveAsync(string destination, IEnumerable<FileSyncMessage> messages)
    {
        var service = new GrpcService().Stream(FileSyncCalls.Receive, async stream =>
        {
            foreach (var message in messages)
                await stream.SendAsync(message, stream.CancellationToken);
            while (await stream.ReadAsync(CancellationToken.None) is { } answer)
            {
                if (answer.Type == PacketType.Fin)
                    await stream.SendAsync(FileSyncMessage.ForFin(), stream.CancellationToken);
                if (answer.Type is PacketType.Fin or PacketType.Error)
                    return;
            }
        });
        return FileSyncClient.ReceiveAsync(new InMemoryChannel(service), "context", FilterOptions.All, destination, new ReceiveOptions(), CancellationToken.None);
    }
}
