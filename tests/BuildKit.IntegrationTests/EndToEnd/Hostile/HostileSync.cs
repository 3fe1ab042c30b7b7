using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.FsUtil;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Services;
using BuildKit.Session.Transport;
using Google.Protobuf;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>Cases of kind <c>fsync</c>: a client whose answers to FileSync/DiffCopy are the recorded packets.</summary>
internal static class HostileSync
{
    private static readonly TimeSpan RequestPatience = TimeSpan.FromSeconds(1);

    internal static async Task<HostileOutcome> RunAsync(HostileFixture fixture, JsonElement hostile, TimeSpan limit)
    {
        var vanishes = hostile.TryGetProperty("vanish", out var vanish) && vanish.GetBoolean();
        var played = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var method = new Method<Packet, RawMessage>(MethodKind.DuplexStreaming, FileSyncMethods.ServiceName, FileSyncMethods.DiffCopy.Name, Packet.Parser, RawMessage.Parser);
        var service = new GrpcService().Stream(method, stream => PlayAsync(hostile, stream, vanishes, played));
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(fixture.Daemon.Address["unix://".Length..]));
        await using var channel = Http2Connection.Start(new NetworkStream(socket, ownsSocket: true), new Http2ConnectionOptions { Authority = "localhost" });
        await using var session = SessionCallee.Start(channel, SessionId.New(), "", [service], options: null, CancellationToken.None);
        var request = SolveRequest.Parser.ParseFrom(HostileFixture.Unpack(hostile.GetProperty("request_gz_b64")));
        request.Session = session.Id;
        var solving = channel.UnaryAsync(ControlMethods.Solve, request, new CallOptions(Timeout: limit), CancellationToken.None);
        if (vanishes)
        {
            await Task.WhenAny(played.Task, solving);
            socket.Close(timeout: 0); // as the kernel does for a process that is gone
        }
        try
        {
            await solving;
            return new HostileOutcome("ok", "");
        }
        catch (RpcException refused)
        {
            Assert.True(refused.Code != StatusCode.DeadlineExceeded, $"no answer within {limit}");
            return new HostileOutcome(vanishes ? "killed" : "error", $"{refused.Code}: {refused.Message}");
        }
    }

    private static async Task PlayAsync(JsonElement hostile, ServerStream<Packet, RawMessage> stream, bool vanishes, TaskCompletionSource played)
    {
        var asked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var listening = ListenAsync(stream, asked);
        try
        {
            var hasSentData = false;
            foreach (var packet in Packets(hostile))
            {
                if (!hasSentData && packet.AsSpan().StartsWith((ReadOnlySpan<byte>)[0x08, 0x02]))
                {
                    hasSentData = true;
                    await Task.WhenAny(asked.Task, Task.Delay(RequestPatience, stream.CancellationToken));
                }
                await stream.SendAsync(new RawMessage(packet), stream.CancellationToken);
            }
            await Task.WhenAny(listening, Task.Delay(hostile.GetProperty("end_after_ms").GetInt32(), stream.CancellationToken));
            played.TrySetResult();
            if (vanishes)
                await listening;
        }
        catch (Exception e) when (e is OperationCanceledException or RpcException or IOException)
        {
            // The daemon had enough.
        }
        finally
        {
            played.TrySetResult();
        }
    }

    private static async Task ListenAsync(ServerStream<Packet, RawMessage> stream, TaskCompletionSource asked)
    {
        try
        {
            while (await stream.ReadAsync(stream.CancellationToken) is { } packet)
            {
                if (packet.Type == Packet.Types.PacketType.PacketReq)
                    asked.TrySetResult();
            }
        }
        catch (Exception e) when (e is OperationCanceledException or RpcException or IOException)
        {
            // The daemon ended the call.
        }
    }

    private static IEnumerable<byte[]> Packets(JsonElement hostile)
    {
        if (hostile.TryGetProperty("messages", out var messages))
            return messages.EnumerateArray().Select(m => m.GetBytesFromBase64());
        var repeat = hostile.GetProperty("messages_repeat");
        var template = repeat.GetProperty("field1_template").GetString()!;
        var mode = repeat.GetProperty("mode").GetUInt32();
        return Enumerable.Range(0, repeat.GetProperty("count").GetInt32()).Select(i => new Packet { Stat = new Stat { Path = Filled(template, i), Mode = mode } }.ToByteArray());
    }

    /// <summary><c>template % i</c> with one <c>%d</c> or <c>%0Nd</c>.</summary>
    private static string Filled(string template, int number)
    {
        var start = template.IndexOf('%', StringComparison.Ordinal);
        var end = template.IndexOf('d', start);
        var width = template[(start + 1)..end];
        return template[..start] + number.ToString(width.Length == 0 ? "D" : "D" + int.Parse(width, CultureInfo.InvariantCulture), CultureInfo.InvariantCulture) + template[(end + 1)..];
    }
}
