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
    /// <summary>Cases of another user run in the integration tests.</summary>
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
        await FileSyncCases.WalkAsync(item, source.Path);
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
        await FileSyncCases.ExportAsync(item, source.Path, destination);
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
            foreach (var entry in _entries.EnumerateArray())
                await SendAsync(FileSyncMessage.ForStat(GoldenTree.StatOf(entry)));
            await SendAsync(FileSyncMessage.ForStat(null));
            while (await stream.ReadAsync(CancellationToken.None) is { } message)
            {
                if (message.Type == PacketType.Error)
                {
                    ErrorText = message.Data.ToStringUtf8();
                    return;
                }
                if (message.Type == PacketType.Fin)
                {
                    await SendAsync(FileSyncMessage.ForFin());
                    return;
                }
                Requested.Add(message.Id);
                ReadOnlyMemory<byte> content = GoldenTree.Content(_entries[(int)message.Id]);
                for (; content.Length > 0; content = content[Math.Min(32768, content.Length)..])
                    await SendAsync(FileSyncMessage.ForData(message.Id, content[..Math.Min(32768, content.Length)]));
                await SendAsync(FileSyncMessage.ForData(message.Id, default));
            }

            async Task SendAsync(FileSyncMessage message)
            {
                try
                {
                    await stream.SendAsync(message, stream.CancellationToken);
                }
                catch (OperationCanceledException)
                {
                    // The receiver is gone; what it said before is still to be read.
                }
            }
        }
    }
}
