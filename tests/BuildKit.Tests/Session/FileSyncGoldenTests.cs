using System.Security.Cryptography;
using System.Text.Json;
using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSend;
using BuildKit.Session.FileSync;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Session;

public sealed class FileSyncGoldenTests
{
    public static TheoryData<string> WalkCases => Names("walk.json", item => !item.TryGetProperty("as_uid", out _) && GoldenTree.CanMake(item.GetProperty("tree")));

    public static TheoryData<string> ReceiveCases => Names("receive.json", item => LinuxProcess.EffectiveUserId == 0 || !NeedsRoot(item));

    public static TheoryData<string> ExportCases => Names("export.json", item => !item.TryGetProperty("client_uid", out _) && LinuxProcess.EffectiveUserId == 0);

    public static TheoryData<string> TranscriptCases => Names("transcripts.json", item => LinuxProcess.EffectiveUserId == 0 || GoldenTree.Text(item, "direction") == "context");

    [GoldenTheory]
    [MemberData(nameof(WalkCases))]
    public async Task A_directory_is_sent_as_the_reference_sends_it(string name)
    {
        var item = Case("walk.json", name);
        using var source = new TemporaryDirectory();
        GoldenTree.Make(source.Path, item.GetProperty("tree"));
        var request = item.GetProperty("request");
        var result = item.GetProperty("result");
        var dirName = GoldenTree.Text(request, "dir_name");
        var offered = request.TryGetProperty("offered_name", out var other) ? other.GetString()! : dirName;
        var keepOwner = request.TryGetProperty("keep_owner", out var keep) && keep.GetBoolean();
        var channel = new InMemoryChannel(FileSyncProvider.Create(new Dictionary<string, LocalDirectory>(StringComparer.Ordinal) { [offered] = new(source.Path, keepOwner) }));

        var headers = FilterHeaders.Write(dirName, GoldenTree.Filter(request));
        if (result.TryGetProperty("headers", out var expectedHeaders))
        {
            foreach (var header in expectedHeaders.EnumerateObject())
                Assert.Equal(header.Value.EnumerateArray().Select(value => value.GetString()), headers.GetAll(header.Name));
            Assert.Equal(expectedHeaders.EnumerateObject().Sum(header => header.Value.GetArrayLength()), headers.Count);
        }
        await using var call = channel.Open(FileSyncCalls.Receive, new CallOptions(headers), CancellationToken.None);
        var stats = new List<string>();
        var requestable = new List<uint>();
        var contents = new List<string>();
        try
        {
            while (true)
            {
                var message = await call.ReadAsync(CancellationToken.None) ?? throw new InvalidOperationException("ended early");
                if (message.Type == PacketType.Error)
                {
                    var expected = result.GetProperty("error").GetProperty("err_packet").GetString()!.Replace("<root>", source.Path, StringComparison.Ordinal);
                    Assert.Equal(expected, message.Data.ToStringUtf8());
                    break;
                }
                if (message.Stat is not { } stat)
                    break;
                if (stat.IsRegular)
                    requestable.Add((uint)stats.Count);
                stats.Add(GoldenTree.Describe(stat));
            }
            if (!result.TryGetProperty("error", out _))
            {
                foreach (var id in requestable)
                    contents.Add(await FetchAsync(call, id));
                await call.SendAsync(FileSyncMessage.ForFin(), CancellationToken.None);
                Assert.Equal(PacketType.Fin, (await call.ReadAsync(CancellationToken.None))!.Type);
                Assert.Null(await call.ReadAsync(CancellationToken.None));
            }
        }
        catch (RpcException refused)
        {
            var error = result.GetProperty("error");
            Assert.Equal(error.GetProperty("grpc_code").GetString(), refused.Code.ToString());
            Assert.Equal(error.GetProperty("grpc_message").GetString()!.Replace("rpc error: code = NotFound desc = ", "", StringComparison.Ordinal), refused.Message);
            return;
        }
        var expectedStats = result.TryGetProperty("stats", out var list) ? list.EnumerateArray().Select(stat => GoldenTree.Describe(GoldenTree.StatOf(stat))) : [];
        Assert.Equal(expectedStats, stats);
        var expectedContents = result.TryGetProperty("content", out var content)
            ? content.EnumerateArray().Select(c => $"{c.GetProperty("id")} {c.GetProperty("len")} {GoldenTree.Text(c, "sha256")}") : [];
        Assert.Equal(expectedContents, contents);
    }

    [GoldenTheory]
    [MemberData(nameof(ReceiveCases))]
    public async Task A_received_tree_becomes_what_the_reference_makes_of_it(string name)
    {
        var item = Case("receive.json", name);
        using var destination = new TemporaryDirectory();
        GoldenTree.Make(destination.Path, item.GetProperty("previous"));
        var result = item.GetProperty("result");
        var before = Inodes(destination.Path);
        var sender = new PlayedSender(item.GetProperty("incoming"));
        var channel = new InMemoryChannel(sender.Service);
        var observer = new RecordingObserver();
        var options = new ReceiveOptions { Observer = observer, IgnoresExisting = GoldenTree.Text(item, "differ") == "none" };
        var receive = () => FileSyncClient.ReceiveAsync(channel, "context", FilterOptions.All, destination.Path, options, CancellationToken.None);
        if (result.TryGetProperty("error", out var error))
        {
            var failure = await Assert.ThrowsAsync<FileSyncException>(receive);
            Assert.Equal(error.GetProperty("receiver_error").GetString(), failure.Message);
            Assert.Equal(error.GetProperty("err_packet").GetString(), sender.ErrorText);
            return;
        }
        await receive();
        Assert.Equal(result.GetProperty("requested_ids").EnumerateArray().Select(id => id.GetUInt32()), sender.Requested.Order());
        Assert.Equal(Changes(result, "changes_in_order"), observer.Others);
        Assert.Equal(Changes(result, "changes_of_files"), observer.Files.Order(StringComparer.Ordinal));
        var actual = GoldenTree.Describe(destination.Path);
        Assert.Equal(GoldenTree.Describe(result.GetProperty("final_tree"), actual), actual);
        var after = Inodes(destination.Path);
        var untouched = after.Where(pair => before.TryGetValue(pair.Key, out var old) && old == pair.Value).Select(pair => pair.Key);
        Assert.Equal(result.GetProperty("untouched").EnumerateArray().Select(path => path.GetString()!), untouched.Order(StringComparer.Ordinal));
    }

    [GoldenTheory]
    [MemberData(nameof(ExportCases))]
    public async Task An_exported_directory_arrives_as_the_reference_writes_it(string name)
    {
        var item = Case("export.json", name);
        using var source = new TemporaryDirectory();
        using var target = new TemporaryDirectory();
        GoldenTree.Make(source.Path, item.GetProperty("result_tree"));
        LinuxFile.Chmod(target.Path, 0x1ED);
        var destination = item.TryGetProperty("destination_missing", out _) ? target.Path + "/out" : target.Path;
        if (item.TryGetProperty("existing", out var existing))
            GoldenTree.Make(target.Path, existing);
        Func<SyncStat, SyncStat>? map = item.TryGetProperty("epoch", out var epoch) ? stat => stat with { ModTime = epoch.GetInt64() * 1_000_000_000 } : null;
        IFileTree tree = new DirectoryTree(source.Path, map: map);
        if (item.TryGetProperty("platform_dir", out var platform))
        {
            var directory = new SyncStat { Path = platform.GetString()!, Mode = GoFileMode.Directory | 0x1ED, ModTime = map is null ? 0 : epoch.GetInt64() * 1_000_000_000 };
            tree = new SubdirectoryTree([(directory, tree)]);
        }
        var channel = new InMemoryChannel(FileSendTarget.Create(new Dictionary<int, SendTarget> { [0] = SendTarget.ToDirectory(destination) }));

        await FileSendClient.SendDirectoryAsync(channel, 0, tree, null, CancellationToken.None);

        var result = item.GetProperty("result");
        var sent = channel.Transcript.Where(message => message.FromCaller).Select(message => FileSyncMessage.Parser.ParseFrom(message.Bytes));
        var stats = sent.Where(message => message.Stat is not null).Select(message => GoldenTree.Describe(message.Stat!));
        Assert.Equal(result.GetProperty("stats_sent").EnumerateArray().Select(stat => GoldenTree.Describe(GoldenTree.StatOf(stat))), stats);
        var requested = channel.Transcript.Where(message => !message.FromCaller).Select(message => FileSyncMessage.Parser.ParseFrom(message.Bytes))
            .Where(message => message.Type == PacketType.Request).Select(message => message.Id);
        Assert.Equal(result.GetProperty("requested_ids").EnumerateArray().Select(id => id.GetUInt32()), requested.Order());
        var actual = GoldenTree.Describe(destination);
        Assert.Equal(GoldenTree.Describe(result.GetProperty("destination_after"), actual), actual);
        Assert.Equal(GoldenTree.Text(result, "destination_mode").TrimStart('0'), Convert.ToString(LinuxFile.Stat(destination).Permissions, 8));
    }

    [GoldenTheory]
    [MemberData(nameof(TranscriptCases))]
    public async Task A_whole_exchange_consists_of_the_reference_packets(string name)
    {
        var item = Case("transcripts.json", name);
        using var source = new TemporaryDirectory();
        using var destination = new TemporaryDirectory();
        GoldenTree.Make(source.Path, item.GetProperty("tree"));
        if (item.TryGetProperty("previous", out var previous))
            GoldenTree.Make(destination.Path, previous);
        var isContext = GoldenTree.Text(item, "direction") == "context";
        InMemoryChannel channel;
        if (isContext)
        {
            var request = item.GetProperty("request");
            channel = new InMemoryChannel(FileSyncProvider.Create(new Dictionary<string, LocalDirectory>(StringComparer.Ordinal) { ["context"] = new(source.Path) }));
            var options = new ReceiveOptions { IgnoresExisting = GoldenTree.Text(item, "differ") == "none" };
            await FileSyncClient.ReceiveAsync(channel, "context", GoldenTree.Filter(request), destination.Path, options, CancellationToken.None);
        }
        else
        {
            channel = new InMemoryChannel(FileSendTarget.Create(new Dictionary<int, SendTarget> { [0] = SendTarget.ToDirectory(destination.Path) }));
            await FileSendClient.SendDirectoryAsync(channel, 0, new DirectoryTree(source.Path), null, CancellationToken.None);
        }
        // Free: order among requests, and between ids. So packets are compared per sender, type and id.
        var expected = item.GetProperty("packets").EnumerateArray().Select(packet =>
        {
            var fromSender = GoldenTree.Text(packet, "from") == "sender";
            var hex = packet.TryGetProperty("wire_hex", out var bytes) ? bytes.GetString()! : GoldenTree.Text(packet, "wire_sha256");
            return $"{(fromSender ? 's' : 'r')} {GoldenTree.Text(packet, "type")} {GoldenTree.Number(packet, "id")} {hex}";
        });
        var actual = channel.Transcript.Select(message =>
        {
            var packet = FileSyncMessage.Parser.ParseFrom(message.Bytes);
            var fromSender = message.FromCaller != isContext;
            var hex = message.Bytes.Length <= 400 ? Convert.ToHexStringLower(message.Bytes) : Convert.ToHexStringLower(SHA256.HashData(message.Bytes));
            string[] types = ["PACKET_STAT", "PACKET_REQ", "PACKET_DATA", "PACKET_FIN", "PACKET_ERR"];
            return $"{(fromSender ? 's' : 'r')} {types[(int)packet.Type]} {packet.Id} {hex}";
        });
        Assert.Equal(Grouped(expected), Grouped(actual));
    }

    private static List<string> Grouped(IEnumerable<string> packets) =>
        [.. packets.GroupBy(line => string.Join(' ', line.Split(' ')[..3])).OrderBy(group => group.Key, StringComparer.Ordinal).SelectMany(group => group)];

    private static async Task<string> FetchAsync(IGrpcCall<FileSyncMessage, FileSyncMessage> call, uint id)
    {
        await call.SendAsync(FileSyncMessage.ForRequest(id), CancellationToken.None);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var length = 0;
        while (true)
        {
            var message = (await call.ReadAsync(CancellationToken.None))!;
            Assert.Equal((PacketType.Data, id), (message.Type, message.Id));
            if (message.Data.IsEmpty)
                return $"{id} {length} {(length == 0 ? "" : Convert.ToHexStringLower(hash.GetHashAndReset()))}";
            length += message.Data.Length;
            hash.AppendData(message.Data.Span);
        }
    }

    private static List<string> Changes(JsonElement result, string name) =>
        result.TryGetProperty(name, out var changes)
            ? [.. changes.EnumerateArray().Select(change => $"{GoldenTree.Text(change, "kind")} {GoldenTree.Text(change, "path")}")]
            : [];

    private static Dictionary<string, (ulong Inode, UnixTime Ctime)> Inodes(string root)
    {
        var inodes = new Dictionary<string, (ulong, UnixTime)>(StringComparer.Ordinal);
        foreach (var stat in new DirectoryTree(root).Walk(CancellationToken.None))
        {
            var found = LinuxFile.Lstat(root + "/" + stat.Path);
            inodes[stat.Path] = (found.Inode, stat.IsDirectory ? default : found.Ctime);
        }
        return inodes;
    }

    private static bool NeedsRoot(JsonElement item) =>
        item.GetProperty("incoming").EnumerateArray().Any() || !GoldenTree.CanMake(item.GetProperty("previous"));

    private static TheoryData<string> Names(string file, Func<JsonElement, bool> isRunnable) => Items(file).Where(isRunnable).Names();

    private static JsonElement Case(string file, string name) => Items(file).Single(item => item.GetProperty("name").GetString() == name);

    private static IEnumerable<JsonElement> Items(string file) => Golden.List(Golden.Path("filesync", file));

    private sealed class RecordingObserver : IReceiveObserver
    {
        public List<string> Others { get; } = [];

        public List<string> Files { get; } = [];

        public IncrementalHash StartHash(SyncStat stat) => IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

        public void OnChange(ChangeKind kind, string path, SyncStat? stat, Digest digest)
        {
            var isFile = stat is { IsRegular: true, Linkname.Length: 0 };
            (isFile ? Files : Others).Add($"{kind.ToString().ToLowerInvariant()} {path}");
        }
    }

    /// <summary>A sender that announces a given list, whatever it is.</summary>
    private sealed class PlayedSender
    {
        private readonly JsonElement _entries;

        public PlayedSender(JsonElement entries)
        {
            _entries = entries;
            Service = new GrpcService().Stream(FileSyncCalls.Receive, RunAsync);
        }

        public GrpcService Service { get; }

        public List<uint> Requested { get; } = [];

        public string? ErrorText { get; private set; }

        private async Task RunAsync(ServerStream<FileSyncMessage, FileSyncMessage> stream)
        {
            try
            {
                foreach (var entry in _entries.EnumerateArray())
                    await stream.SendAsync(FileSyncMessage.ForStat(GoldenTree.StatOf(entry)), stream.CancellationToken);
                await stream.SendAsync(FileSyncMessage.ForStat(null), stream.CancellationToken);
            }
            catch (OperationCanceledException)
            {
                // The receiver is gone; what it said before is still to be read.
            }
            while (await stream.ReadAsync(CancellationToken.None) is { } message)
            {
                if (message.Type == PacketType.Error)
                {
                    ErrorText = message.Data.ToStringUtf8();
                    return;
                }
                if (message.Type == PacketType.Fin)
                {
                    await stream.SendAsync(FileSyncMessage.ForFin(), stream.CancellationToken);
                    return;
                }
                Requested.Add(message.Id);
                ReadOnlyMemory<byte> content = GoldenTree.Content(_entries[(int)message.Id]);
                for (; content.Length > 0; content = content[Math.Min(32768, content.Length)..])
                    await stream.SendAsync(FileSyncMessage.ForData(message.Id, content[..Math.Min(32768, content.Length)]), stream.CancellationToken);
                await stream.SendAsync(FileSyncMessage.ForData(message.Id, default), stream.CancellationToken);
            }
        }
    }
}
