using System.Net.Sockets;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Server;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Tests.Protocol;

/// <summary>A service with a method of every kind, and a client and a server of it.</summary>
internal static class EchoService
{
    public static readonly Method<BytesMessage, BytesMessage> Unary = Of(MethodKind.Unary, "Unary");
    public static readonly Method<BytesMessage, BytesMessage> Fail = Of(MethodKind.Unary, "Fail");
    public static readonly Method<BytesMessage, BytesMessage> Throw = Of(MethodKind.Unary, "Throw");
    public static readonly Method<BytesMessage, BytesMessage> Hang = Of(MethodKind.Unary, "Hang");
    public static readonly Method<BytesMessage, BytesMessage> Keys = Of(MethodKind.Unary, "Keys");
    public static readonly Method<BytesMessage, BytesMessage> Count = Of(MethodKind.ServerStreaming, "Count");
    public static readonly Method<BytesMessage, BytesMessage> Sum = Of(MethodKind.ClientStreaming, "Sum");
    public static readonly Method<BytesMessage, BytesMessage> Duplex = Of(MethodKind.DuplexStreaming, "Duplex");
    public static readonly Method<BytesMessage, BytesMessage> EndEarly = Of(MethodKind.DuplexStreaming, "EndEarly");
    public static readonly Method<BytesMessage, BytesMessage> Missing = Of(MethodKind.Unary, "Missing");
    public static readonly Method<BytesMessage, BytesMessage> MissingService =
        new(MethodKind.Unary, "test.Nothing", "Missing", BytesMessage.Parser, BytesMessage.Parser);

    public static GrpcService Create(TaskCompletionSource? cancelled = null) => new GrpcService()
        .Unary(Unary, (request, _) => Task.FromResult(request))
        .Unary(Fail, (request, context) =>
        {
            context.ResponseTrailers.Add("x-extra", "1");
            throw new RpcException(
                StatusCode.NotFound,
                "100% no\nsuch é",
                [new Any { TypeUrl = "github.com/moby/buildkit/errdefs.Vertex+json", Value = request.Data }]);
        })
        .Unary(Throw, (_, _) => throw new InvalidDataException("broken \"x\""))
        .Unary(Hang, async (request, context) =>
        {
            try
            {
                await Task.Delay(Timeout.Infinite, context.CancellationToken);
            }
            finally
            {
                cancelled?.TrySetResult();
            }

            return request;
        })
        .Unary(Keys, (_, context) => Task.FromResult(
            new BytesMessage { Data = ByteString.CopyFromUtf8(string.Join('|', context.RequestHeaders.GetAll("x-key"))) }))
        .Stream(Count, async stream =>
        {
            stream.ResponseHeaders.Add("x-first", "yes");
            stream.ResponseTrailers.Add("x-last", "done");
            var request = await stream.ReadAsync(stream.CancellationToken);
            for (var i = 0; i < request!.Data[0]; i++)
                await stream.SendAsync(new BytesMessage { Data = ByteString.CopyFrom((byte)i) }, stream.CancellationToken);
        })
        .Stream(Sum, async stream =>
        {
            long sum = 0;
            while (await stream.ReadAsync(stream.CancellationToken) is { } message)
                sum += message.Data.Length;
            await stream.SendAsync(
                new BytesMessage { Data = ByteString.CopyFromUtf8($"{sum}") }, stream.CancellationToken);
        })
        .Stream(Duplex, async stream =>
        {
            while (await stream.ReadAsync(stream.CancellationToken) is { } message)
                await stream.SendAsync(message, stream.CancellationToken);
        })
        .Stream(EndEarly, async stream => await stream.SendAsync(new BytesMessage(), stream.CancellationToken));

    private static Method<BytesMessage, BytesMessage> Of(MethodKind kind, string name) =>
        new(kind, "test.Echo", name, BytesMessage.Parser, BytesMessage.Parser);
}

/// <summary>A server and a connection to it, over memory or a unix socket.</summary>
internal sealed class EchoPeer : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _serving;
    private readonly GrpcServer? _server;
    private readonly string? _socket;

    private EchoPeer(Http2Connection client, Task serving, GrpcServer? server, string? socket)
    {
        Client = client;
        _serving = serving;
        _server = server;
        _socket = socket;
    }

    public Http2Connection Client { get; }

    public static EchoPeer InMemory(GrpcService? service = null, GrpcServerOptions? options = null, Http2ConnectionOptions? client = null)
    {
        var (a, b) = DuplexStream.Pair();
        var serving = GrpcServer.ServeAsync(b, [service ?? EchoService.Create()], options, CancellationToken.None);
        return new(Http2Connection.Start(a, client), serving, null, null);
    }

    public static async Task<EchoPeer> OnUnixSocket(GrpcService? service = null, GrpcServerOptions? options = null)
    {
        var path = Path.Combine(Path.GetTempPath(), $"echo-{Guid.NewGuid():N}.sock");
        var server = new GrpcServer([service ?? EchoService.Create()], options);
        await server.StartAsync([new GrpcListener(new UnixDomainSocketEndPoint(path))], CancellationToken.None);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path));
        return new(Http2Connection.Start(new NetworkStream(socket, ownsSocket: true)), Task.CompletedTask, server, path);
    }

    public Task DisposeServerGracefully() => _server!.StopAsync(CancellationToken.None);

    public async ValueTask DisposeAsync()
    {
        await Client.DisposeAsync();
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(30));
        if (_server is not null)
            await _server.DisposeAsync();
        if (_socket is not null)
            File.Delete(_socket);
        _stop.Dispose();
    }
}
