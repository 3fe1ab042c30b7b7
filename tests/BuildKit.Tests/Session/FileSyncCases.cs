using System.Security.Cryptography;
using System.Text.Json;
using BuildKit.Linux;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSend;
using BuildKit.Session.FileSync;

namespace BuildKit.Tests.Session;

/// <summary>Cases of the golden set <c>filesync</c> that may have to run as another user: on directories made before.</summary>
internal static class FileSyncCases
{
    /// <summary>Sends the directory <paramref name="root"/> as a case of <c>walk.json</c> asks for it.</summary>
    public static async Task WalkAsync(JsonElement item, string root)
    {
        var request = item.GetProperty("request");
        var result = item.GetProperty("result");
        var dirName = GoldenTree.Text(request, "dir_name");
        var offered = request.TryGetProperty("offered_name", out var other) ? other.GetString()! : dirName;
        var keepOwner = request.TryGetProperty("keep_owner", out var keep) && keep.GetBoolean();
        var channel = new InMemoryChannel(FileSyncProvider.Create(new Dictionary<string, LocalDirectory>(StringComparer.Ordinal) { [offered] = new(root, keepOwner) }));

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
                    var expected = result.GetProperty("error").GetProperty("err_packet").GetString()!.Replace("<root>", root, StringComparison.Ordinal);
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

    /// <summary>Exports the directory <paramref name="root"/> to <paramref name="destination"/> as a case of <c>export.json</c> says.</summary>
    public static async Task ExportAsync(JsonElement item, string root, string destination)
    {
        Func<SyncStat, SyncStat>? map = item.TryGetProperty("epoch", out var epoch) ? stat => stat with { ModTime = epoch.GetInt64() * 1_000_000_000 } : null;
        IFileTree tree = new DirectoryTree(root, map: map);
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
}
