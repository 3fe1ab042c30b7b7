using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Health;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Server;
using BuildKit.Protocol.Services;
using BuildKit.Session.Transport;
using BuildKit.Tests.Protocol;
using Google.Protobuf;

namespace BuildKit.Tests.Session.Transport;

public class SessionTransportTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private static (Http2Connection Client, Task Daemon) Daemon(SessionManager sessions)
    {
        var (a, b) = DuplexStream.Pair();
        var control = new GrpcService().Stream(ControlMethods.Session, sessions.HandleAsync);
        return (Http2Connection.Start(a), GrpcServer.ServeAsync(b, [control], null, default));
    }

    [Fact]
    public async Task The_daemon_calls_the_client_through_its_session()
    {
        var sessions = new SessionManager();
        var (client, daemon) = Daemon(sessions);
        var waiting = sessions.GetAsync("prefix:s1", Patience, default);
        await using (SessionCallee.Start(client, "s1", "key", [EchoService.Create()], null, default))
        {
            var caller = await waiting.WaitAsync(Patience);
            Assert.Equal(("s1", "key"), (caller.Id, caller.SharedKey));
            Assert.True(caller.Supports("/TEST.echo/unary"));
            Assert.False(caller.Supports("/test.Echo/Nothing"));
            Assert.Contains("/grpc.health.v1.Health/Check", caller.Methods);
            var health = await caller.Channel.UnaryAsync(HealthMethods.Check, new HealthCheckRequest(), default, default);
            Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, health.Status);
            var big = new BytesMessage { Data = ByteString.CopyFrom(new byte[3 << 20]) };
            for (var i = 0; i < 5; i++)
                Assert.Equal(big, await caller.Channel.UnaryAsync(EchoService.Unary, big, default, default).WaitAsync(Patience));
            var tooBig = new BytesMessage { Data = ByteString.CopyFrom(new byte[4 << 20]) };
            var error = await Assert.ThrowsAsync<RpcException>(
                () => caller.Channel.UnaryAsync(EchoService.Unary, tooBig, default, default));
            Assert.Equal(StatusCode.ResourceExhausted, error.Code);
        }

        await client.DisposeAsync();
        await daemon.WaitAsync(Patience);
    }

    [Fact]
    public async Task A_closed_session_is_forgotten_and_its_calls_fail()
    {
        var sessions = new SessionManager();
        var (client, daemon) = Daemon(sessions);
        var callee = SessionCallee.Start(client, "s1", "", [EchoService.Create()], null, default);
        var caller = await sessions.GetAsync("s1", Patience, default);
        var hanging = caller.Channel.UnaryAsync(EchoService.Hang, new BytesMessage(), default, default);
        await callee.DisposeAsync();
        await Assert.ThrowsAsync<RpcException>(() => hanging.WaitAsync(Patience));
        await caller.Closed.WaitAsync(Patience);
        var error = await Assert.ThrowsAsync<RpcException>(() => sessions.GetAsync("s1", TimeSpan.FromMilliseconds(20), default));
        Assert.Equal(StatusCode.DeadlineExceeded, error.Code);
        Assert.Equal("no active session for s1: context deadline exceeded", error.Message);
        await client.DisposeAsync();
        await daemon.WaitAsync(Patience);
    }

    [Fact]
    public async Task Any_moves_on_to_the_next_session_of_the_group()
    {
        var sessions = new SessionManager();
        var (client, daemon) = Daemon(sessions);
        await using (SessionCallee.Start(client, "a", "", [], null, default))
        await using (SessionCallee.Start(client, "b", "", [EchoService.Create()], null, default))
        {
            var id = await sessions.AnyAsync(
                ["a", "b"],
                async (caller, token) =>
                {
                    await caller.Channel.UnaryAsync(EchoService.Unary, new BytesMessage(), default, token);
                    return caller.Id;
                },
                default);
            Assert.Equal("b", id);
            var error = await Assert.ThrowsAsync<RpcException>(
                () => sessions.AnyAsync<int>([], (_, _) => Task.FromResult(1), default));
            Assert.Equal("no active sessions", error.Message);
        }

        await client.DisposeAsync();
        await daemon.WaitAsync(Patience);
    }

    [Fact]
    public void Ids_are_25_lower_case_digits()
    {
        var ids = Enumerable.Range(0, 200).Select(_ => SessionId.New()).ToArray();
        Assert.Equal(200, ids.Distinct(StringComparer.Ordinal).Count());
        Assert.All(ids, id => Assert.Matches("^[0-9a-z]{25}$", id));
    }
}
