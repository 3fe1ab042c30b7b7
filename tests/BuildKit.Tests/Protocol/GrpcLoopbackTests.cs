using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Server;
using Google.Protobuf;

namespace BuildKit.Tests.Protocol;

public class GrpcLoopbackTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private static BytesMessage Bytes(int size) => new() { Data = ByteString.CopyFrom(new byte[size]) };

    private static async Task<EchoPeer> Peer(bool socket) =>
        socket ? await EchoPeer.OnUnixSocket() : EchoPeer.InMemory();

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 70000)]
    [InlineData(true, (16 << 20) - 8)]
    [InlineData(false, (16 << 20) - 8)]
    public async Task A_unary_call_returns_what_was_sent(bool socket, int size)
    {
        await using var peer = await Peer(socket);
        var sent = Bytes(size);
        for (var i = 0; i < 3; i++)
            Assert.Equal(sent, await peer.Client.UnaryAsync(EchoService.Unary, sent, default, default).WaitAsync(Patience));
    }

    [Fact]
    public async Task A_server_stream_has_headers_messages_and_trailers()
    {
        await using var peer = EchoPeer.InMemory();
        await using var call = peer.Client.Open(EchoService.Count, default, default);
        await call.SendAsync(new BytesMessage { Data = ByteString.CopyFrom(200) }, default);
        await call.CompleteAsync(default);
        Assert.Equal("yes", (await call.ResponseHeaders.WaitAsync(Patience)).Get("x-first"));
        var seen = 0;
        while (await call.ReadAsync(default) is { } message)
            Assert.Equal((byte)seen++, message.Data[0]);
        Assert.Equal(200, seen);
        Assert.Equal("done", call.Trailers.Get("x-last"));
        Assert.Null(await call.ReadAsync(default));
    }

    [Fact]
    public async Task A_client_stream_is_summed_up()
    {
        await using var peer = await Peer(socket: true);
        await using var call = peer.Client.Open(EchoService.Sum, default, default);
        for (var i = 0; i < 100; i++)
            await call.SendAsync(Bytes(100_000), default);
        await call.CompleteAsync(default);
        Assert.Equal("10000000", (await call.ReadAsync(default))!.Data.ToStringUtf8());
        Assert.Null(await call.ReadAsync(default));
    }

    [Fact]
    public async Task A_duplex_stream_goes_back_and_forth()
    {
        await using var peer = EchoPeer.InMemory();
        await using var call = peer.Client.Open(EchoService.Duplex, default, default);
        for (var i = 0; i < 500; i++)
        {
            await call.SendAsync(Bytes(i), default);
            Assert.Equal(i, (await call.ReadAsync(default))!.Data.Length);
        }

        await call.CompleteAsync(default);
        Assert.Null(await call.ReadAsync(default));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_slow_reader_holds_the_sender_back_and_loses_nothing(bool socket)
    {
        await using var peer = await Peer(socket);
        await using var call = peer.Client.Open(EchoService.Duplex, default, default);
        var sent = 0;
        var sending = Task.Run(async () =>
        {
            for (; sent < 2000; sent++)
                await call.SendAsync(Bytes(32 << 10), default);
            await call.CompleteAsync(default);
        });
        await Task.Delay(300);
        Assert.InRange(sent, 1, 1990);
        long received = 0;
        while (await call.ReadAsync(default) is { } message)
            received += message.Data.Length;
        await sending.WaitAsync(Patience);
        Assert.Equal(2000L * (32 << 10), received);
    }

    [Fact]
    public async Task A_call_nobody_reads_does_not_stop_the_others()
    {
        await using var peer = EchoPeer.InMemory();
        await using var stuck = peer.Client.Open(EchoService.Duplex, default, default);
        _ = Task.Run(async () =>
        {
            for (var i = 0; i < 1000; i++)
                await stuck.SendAsync(Bytes(64 << 10), default);
        });
        await Task.Delay(100);
        Assert.Equal(Bytes(5_000_000), await peer.Client.UnaryAsync(EchoService.Unary, Bytes(5_000_000), default, default).WaitAsync(Patience));
    }

    [Fact]
    public async Task Errors_carry_code_text_details_and_trailers()
    {
        await using var peer = EchoPeer.InMemory();
        foreach (var size in new[] { 3, 300_000 })
        {
            var error = await Assert.ThrowsAsync<RpcException>(
                () => peer.Client.UnaryAsync(EchoService.Fail, Bytes(size), default, default).WaitAsync(Patience));
            Assert.Equal(StatusCode.NotFound, error.Code);
            Assert.Equal("100% no\nsuch é", error.Message);
            Assert.Equal("github.com/moby/buildkit/errdefs.Vertex+json", error.Details.Single().TypeUrl);
            Assert.Equal(size, error.Details.Single().Value.Length);
        }
    }

    [Fact]
    public async Task What_a_handler_throws_is_Unknown_with_its_text()
    {
        await using var peer = EchoPeer.InMemory();
        var error = await Assert.ThrowsAsync<RpcException>(
            () => peer.Client.UnaryAsync(EchoService.Throw, Bytes(0), default, default).WaitAsync(Patience));
        Assert.Equal((StatusCode.Unknown, "broken \"x\""), (error.Code, error.Message));
    }

    [Fact]
    public async Task The_error_mapper_decides_what_the_peer_is_told()
    {
        var options = new GrpcServerOptions { MapError = e => new RpcException(StatusCode.DataLoss, "mapped " + e.Message) };
        await using var peer = EchoPeer.InMemory(options: options);
        var error = await Assert.ThrowsAsync<RpcException>(
            () => peer.Client.UnaryAsync(EchoService.Throw, Bytes(0), default, default).WaitAsync(Patience));
        Assert.Equal((StatusCode.DataLoss, "mapped broken \"x\""), (error.Code, error.Message));
    }

    [Fact]
    public async Task Unknown_methods_and_services_are_Unimplemented()
    {
        await using var peer = EchoPeer.InMemory();
        var method = await Assert.ThrowsAsync<RpcException>(
            () => peer.Client.UnaryAsync(EchoService.Missing, Bytes(0), default, default).WaitAsync(Patience));
        Assert.Equal((StatusCode.Unimplemented, "unknown method Missing for service test.Echo"), (method.Code, method.Message));
        var service = await Assert.ThrowsAsync<RpcException>(
            () => peer.Client.UnaryAsync(EchoService.MissingService, Bytes(0), default, default).WaitAsync(Patience));
        Assert.Equal((StatusCode.Unimplemented, "unknown service test.Nothing"), (service.Code, service.Message));
    }

    [Fact]
    public async Task Cancelling_reaches_the_handler()
    {
        var cancelled = new TaskCompletionSource();
        await using var peer = EchoPeer.InMemory(EchoService.Create(cancelled));
        using var source = new CancellationTokenSource();
        var call = peer.Client.UnaryAsync(EchoService.Hang, Bytes(1), default, source.Token);
        await peer.Client.UnaryAsync(EchoService.Unary, Bytes(1), default, default).WaitAsync(Patience);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call.WaitAsync(Patience));
        await cancelled.Task.WaitAsync(Patience);
    }

    [Fact]
    public async Task A_deadline_ends_the_call_on_both_sides()
    {
        var cancelled = new TaskCompletionSource();
        await using var peer = EchoPeer.InMemory(EchoService.Create(cancelled));
        var error = await Assert.ThrowsAsync<RpcException>(() => peer.Client.UnaryAsync(
            EchoService.Hang, Bytes(1), new CallOptions(Timeout: TimeSpan.FromMilliseconds(50)), default).WaitAsync(Patience));
        Assert.Equal(StatusCode.DeadlineExceeded, error.Code);
        await cancelled.Task.WaitAsync(Patience);
    }

    [Fact]
    public async Task Repeated_keys_arrive_one_by_one_in_order()
    {
        await using var peer = EchoPeer.InMemory();
        var headers = new Metadata();
        var expected = Enumerable.Range(0, 1500).Select(i => $"value {i}, with a comma").ToArray();
        foreach (var value in expected)
            headers.Add("X-Key", value);
        var answer = await peer.Client.UnaryAsync(EchoService.Keys, Bytes(0), new CallOptions(headers), default).WaitAsync(Patience);
        Assert.Equal(string.Join('|', expected), answer.Data.ToStringUtf8());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Three_hundred_calls_run_at_once(bool socket)
    {
        await using var peer = await Peer(socket);
        var calls = Enumerable.Range(0, 300).Select(async i =>
        {
            await using var call = peer.Client.Open(EchoService.Duplex, default, default);
            for (var round = 0; round < 5; round++)
            {
                await call.SendAsync(Bytes(i * 37), default);
                Assert.Equal(i * 37, (await call.ReadAsync(default))!.Data.Length);
            }

            await call.CompleteAsync(default);
            Assert.Null(await call.ReadAsync(default));
        });
        await Task.WhenAll(calls).WaitAsync(Patience);
    }

    [Fact]
    public async Task Calls_beyond_the_peers_limit_wait_for_their_turn()
    {
        await using var peer = EchoPeer.InMemory(options: new GrpcServerOptions { MaxStreamsPerConnection = 3 });
        await peer.Client.UnaryAsync(EchoService.Unary, Bytes(1), default, default).WaitAsync(Patience);
        var calls = Enumerable.Range(0, 50).Select(i => peer.Client.UnaryAsync(EchoService.Unary, Bytes(i), default, default));
        Assert.Equal(Enumerable.Range(0, 50), (await Task.WhenAll(calls).WaitAsync(Patience)).Select(m => m.Data.Length));
    }

    [Fact]
    public async Task A_message_over_the_limit_is_refused_by_whoever_has_the_limit()
    {
        await using var peer = EchoPeer.InMemory(
            options: new GrpcServerOptions { MaxReceiveMessageSize = 1000 }, client: new Http2ConnectionOptions { MaxSendMessageSize = 2000 });
        var remote = await Assert.ThrowsAsync<RpcException>(
            () => peer.Client.UnaryAsync(EchoService.Unary, Bytes(1500), default, default).WaitAsync(Patience));
        Assert.Equal((StatusCode.ResourceExhausted, "grpc: received message larger than max (1503 vs. 1000)"), (remote.Code, remote.Message));
        var local = await Assert.ThrowsAsync<RpcException>(
            () => peer.Client.UnaryAsync(EchoService.Unary, Bytes(3000), default, default).WaitAsync(Patience));
        Assert.Equal(StatusCode.ResourceExhausted, local.Code);
    }

    [Fact]
    public async Task Sending_after_the_peer_ended_fails_and_reading_tells_the_outcome()
    {
        await using var peer = EchoPeer.InMemory();
        await using var call = peer.Client.Open(EchoService.EndEarly, default, default);
        Assert.NotNull(await call.ReadAsync(default).AsTask().WaitAsync(Patience));
        Assert.Null(await call.ReadAsync(default).AsTask().WaitAsync(Patience));
        var error = await Assert.ThrowsAsync<RpcException>(async () => await call.SendAsync(Bytes(1), default));
        Assert.Equal(StatusCode.OK, error.Code);
    }

    [Fact]
    public async Task A_broken_connection_fails_every_open_call_with_Unavailable()
    {
        var (a, b) = DuplexStream.Pair();
        var serving = GrpcServer.ServeAsync(b, [EchoService.Create()], null, default);
        await using var client = Http2Connection.Start(a);
        var calls = Enumerable.Range(0, 10).Select(_ => client.UnaryAsync(EchoService.Hang, Bytes(1), default, default)).ToArray();
        await client.UnaryAsync(EchoService.Unary, Bytes(1), default, default).WaitAsync(Patience);
        b.Dispose();
        foreach (var call in calls)
            Assert.Equal(StatusCode.Unavailable, (await Assert.ThrowsAsync<RpcException>(() => call.WaitAsync(Patience))).Code);
        await client.Closed.WaitAsync(Patience);
        await serving.WaitAsync(Patience);
        var late = await Assert.ThrowsAsync<RpcException>(() => client.UnaryAsync(EchoService.Unary, Bytes(1), default, default));
        Assert.Equal(StatusCode.Unavailable, late.Code);
    }

    [Fact]
    public async Task Stopping_a_server_lets_running_calls_finish()
    {
        var peer = await EchoPeer.OnUnixSocket();
        await using var call = peer.Client.Open(EchoService.Duplex, default, default);
        await call.SendAsync(Bytes(1), default);
        Assert.NotNull(await call.ReadAsync(default));
        var stopping = peer.DisposeServerGracefully();
        await call.SendAsync(Bytes(2), default);
        Assert.Equal(2, (await call.ReadAsync(default))!.Data.Length);
        await call.CompleteAsync(default);
        Assert.Null(await call.ReadAsync(default));
        await stopping.WaitAsync(Patience);
        await peer.DisposeAsync();
    }

    [Fact]
    public async Task Ending_the_serving_of_a_stream_aborts_its_calls()
    {
        var (a, b) = DuplexStream.Pair();
        using var stop = new CancellationTokenSource();
        var serving = GrpcServer.ServeAsync(b, [EchoService.Create()], null, stop.Token);
        await using var client = Http2Connection.Start(a);
        var call = client.UnaryAsync(EchoService.Hang, Bytes(1), default, default);
        await client.UnaryAsync(EchoService.Unary, Bytes(1), default, default).WaitAsync(Patience);
        await stop.CancelAsync();
        await Assert.ThrowsAsync<RpcException>(() => call.WaitAsync(Patience));
        await serving.WaitAsync(Patience);
    }
}
