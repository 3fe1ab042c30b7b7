using System.Buffers.Binary;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Server;

namespace BuildKit.Tests.Protocol;

/// <summary>Peers that do not keep to HTTP/2: every call ends with an error, nothing hangs, nothing crashes.</summary>
public class HostileFrameTests
{
    private const int Rounds = 60;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly byte[] Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();

    public static TheoryData<int> Seeds => [1, 2, 3, 4, 5, 6, 7, 8];

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task A_client_survives_a_server_that_sends_anything(int seed)
    {
        var random = new Random(seed);
        for (var round = 0; round < Rounds; round++)
        {
            var (mine, theirs) = DuplexStream.Pair();
            await using var connection = Http2Connection.Start(mine);
            var call = connection.UnaryAsync(EchoService.Unary, new BytesMessage(), default, default);
            await theirs.WriteAsync(Garbage(random));
            await theirs.DisposeAsync();
            await Assert.ThrowsAsync<RpcException>(() => call.WaitAsync(Patience));
            await connection.Closed.WaitAsync(Patience);
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task A_server_survives_a_client_that_sends_anything(int seed)
    {
        var random = new Random(seed);
        for (var round = 0; round < Rounds; round++)
        {
            var (mine, theirs) = DuplexStream.Pair();
            var serving = GrpcServer.ServeAsync(mine, [HealthService.Create()], new GrpcServerOptions(), default);
            await theirs.WriteAsync(Preface);
            await theirs.WriteAsync(Garbage(random));
            await theirs.DisposeAsync();
            await serving.WaitAsync(Patience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            Assert.True(serving.IsCompleted, "the server still waits for a client that is gone");
        }
    }

    /// <summary>An empty SETTINGS frame, then frames whose lengths, types, flags, streams and bodies are drawn at random, the
    /// last of them cut short.</summary>
    private static byte[] Garbage(Random random)
    {
        var bytes = new List<byte>(Frame(0, 4, 0, 0, []));
        for (var i = random.Next(1, 12); i > 0; i--)
        {
            var body = new byte[random.Next(4) == 0 ? random.Next(20_000) : random.Next(40)];
            random.NextBytes(body);
            var length = random.Next(5) == 0 ? random.Next(1 << 24) : body.Length;
            bytes.AddRange(Frame(length, (byte)random.Next(12), (byte)random.Next(256), (uint)(random.Next(3) == 0 ? random.Next() : random.Next(4)), body));
        }
        return [.. bytes[..^random.Next(0, Math.Min(9, bytes.Count))]];
    }

    private static byte[] Frame(int length, byte type, byte flags, uint stream, byte[] body)
    {
        var frame = new byte[9 + body.Length];
        (frame[0], frame[1], frame[2], frame[3], frame[4]) = ((byte)(length >> 16), (byte)(length >> 8), (byte)length, type, flags);
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(5), stream);
        body.CopyTo(frame, 9);
        return frame;
    }
}
