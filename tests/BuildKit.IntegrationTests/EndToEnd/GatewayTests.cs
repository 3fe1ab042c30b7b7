using BuildKit.IntegrationTests.Support;
using BuildKit.Llb;
using BuildKit.Protocol.ErrDefs;
using BuildKit.Protocol.Errors;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Session.Transport;
using Google.Protobuf;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Builds that a client's own frontend drives (spec 01 §6.2), and build operations (spec 02 §7).</summary>
public sealed class GatewayTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private State Base => State.Image(fixture.Base);

    private Task<GatewayDriver> StartAsync(Action<Protocol.Control.SolveRequest>? change = null) => GatewayDriver.StartAsync(fixture.Daemon.Address, change);

    private static State FileOf(string name, string text) => State.Scratch.File(Files.Mkfile(name, 0x1A4, System.Text.Encoding.UTF8.GetBytes(text)));

    [EndToEndFact]
    public async Task Capabilities_are_the_whole_list()
    {
        await using var build = await StartAsync();
        var pong = await build.CallAsync(LLBBridgeMethods.Ping, new PingRequest());
        Assert.Equal(GatewayCaps.All.Items.Select(c => c.Id), pong.FrontendAPICaps.Select(c => c.ID));
        Assert.Equal(24, pong.FrontendAPICaps.Count);
        Assert.Equal(69, pong.LLBCaps.Count);
        Assert.NotEmpty(Assert.Single(pong.Workers).Platforms);
    }

    [EndToEndFact]
    public async Task A_call_that_belongs_to_no_build_is_told_so()
    {
        await using var build = await StartAsync();
        await using var channel = await Client.DaemonConnection.ConnectAsync(fixture.Daemon.Address, new Client.TlsOptions(), build.Token);
        var without = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(LLBBridgeMethods.Ping, new PingRequest(), default, build.Token));
        Assert.Equal((StatusCode.Unknown, "forwarding Ping: no buildid found in context"), (without.Code, without.Message));
        var options = new CallOptions(new Metadata { { "buildkit-controlapi-buildid", "nope" } });
        var unknown = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(LLBBridgeMethods.Solve, new SolveRequest(), options, build.Token));
        Assert.Equal((StatusCode.NotFound, "forwarding Solve: no such job nope"), (unknown.Code, unknown.Message));
    }

    [EndToEndFact]
    public async Task Results_are_lazy_unless_evaluated()
    {
        await using var build = await StartAsync();
        var failing = Base.Run($"false {Guid.NewGuid():N}");
        var lazy = await build.SolveAsync(failing);
        var error = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.Evaluate, new EvaluateRequest { Ref = lazy }));
        Assert.EndsWith("did not complete successfully: exit code: 1", error.Message, StringComparison.Ordinal);
        Assert.Single(TypedErrors.Of<Solve>(error.Details));
        await Assert.ThrowsAsync<RpcException>(() => build.SolveAsync(failing, evaluate: true));
        var last = await Assert.ThrowsAsync<RpcException>(() => build.ReturnAsync(lazy));
        Assert.Equal(error.Message, last.Message);
        Assert.Empty(TypedErrors.Of<Solve>(last.Details));
    }

    [EndToEndFact]
    public async Task Files_of_results_are_read()
    {
        await using var build = await StartAsync();
        var reference = await build.SolveAsync(FileOf("/dir-a", "0123456789").File(Files.Mkdir("/d", 0x1ED)).File(Files.Mkfile("/d/x", 0x180, "x"u8.ToArray())));
        var part = await build.CallAsync(LLBBridgeMethods.ReadFile, new ReadFileRequest { Ref = reference, FilePath = "/dir-a", Range = new FileRange { Offset = 7, Length = 100 } });
        Assert.Equal("789", part.Data.ToStringUtf8());
        var entries = await build.CallAsync(LLBBridgeMethods.ReadDir, new ReadDirRequest { Ref = reference, DirPath = "/" });
        Assert.Equal(["d", "dir-a"], entries.Entries.Select(e => e.Path));
        var stat = await build.CallAsync(LLBBridgeMethods.StatFile, new StatFileRequest { Ref = reference, Path = "/d/x" });
        Assert.Equal(("x", 0x180u, 1L), (stat.Stat.Path, stat.Stat.Mode, stat.Stat.Size));
        var missing = await Assert.ThrowsAsync<RpcException>(() => build.ReadAsync(reference, "/nope"));
        Assert.Equal((StatusCode.Unknown, "open /nope: no such file or directory"), (missing.Code, missing.Message));
        var unknown = await Assert.ThrowsAsync<RpcException>(() => build.ReadAsync("zzz", "/nope"));
        Assert.Equal((StatusCode.Unknown, "no such ref: zzz"), (unknown.Code, unknown.Message));
    }

    [EndToEndFact]
    public async Task Old_frontends_are_answered_in_the_old_form()
    {
        await using var build = await StartAsync();
        var request = await GatewayDriver.RequestAsync(FileOf("/f", "old"));
        request.AllowResultArrayRef = false;
        var answer = await build.CallAsync(LLBBridgeMethods.Solve, request);
        Assert.Equal("old", await build.ReadAsync(answer.Result.RefDeprecated, "/f"));
        request.AllowResultReturn = false;
        request.Final = true;
        request.ExporterAttr = ByteString.CopyFromUtf8("{\"frontend.test\":\"YWJj\"}");
        answer = await build.CallAsync(LLBBridgeMethods.Solve, request);
        Assert.NotEmpty(answer.Ref);
        Assert.Equal("abc", (await build.Solved).ExporterResponse["frontend.test"]);
    }

    [EndToEndFact]
    public async Task A_result_is_returned_once()
    {
        await using var build = await StartAsync();
        var neither = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.Return, new ReturnRequest()));
        Assert.Equal("gateway return must be either result or err", neither.Message);
        var unknown = await Assert.ThrowsAsync<RpcException>(() => build.ReturnAsync("zzz"));
        Assert.Equal("return reference zzz not found", unknown.Message);
        Assert.Empty((await build.ReturnAsync()).ExporterResponse);
    }

    [EndToEndFact]
    public async Task A_returned_error_is_the_error_of_the_build()
    {
        await using var build = await StartAsync();
        await build.CallAsync(LLBBridgeMethods.Return, new ReturnRequest
        {
            Error = new Protocol.Rpc.Status { Code = (int)StatusCode.ResourceExhausted, Message = "too much", Details = { TypedErrors.Encode(new FrontendCap { Name = "x" }) } },
        });
        var error = await Assert.ThrowsAsync<RpcException>(() => build.Solved);
        Assert.Equal((StatusCode.ResourceExhausted, "too much"), (error.Code, error.Message));
        Assert.Equal("x", Assert.Single(TypedErrors.Of<FrontendCap>(error.Details)).Name);
    }

    [EndToEndFact]
    public async Task Inputs_of_the_build_are_handed_on()
    {
        var definition = await FileOf("/f", "in").MarshalAsync(new MarshalOptions(), CancellationToken.None);
        await using var build = await StartAsync(request => request.FrontendInputs.Add("one", definition));
        Assert.Equal(definition, Assert.Single((await build.CallAsync(LLBBridgeMethods.Inputs, new InputsRequest())).Definitions, d => d.Key == "one").Value);
    }

    [EndToEndFact]
    public async Task An_action_on_files_that_fails_is_named_by_its_index()
    {
        await using var build = await StartAsync();
        var state = State.Scratch.File(Files.Mkfile("/a", 0x1A4, "x"u8.ToArray()).Remove("/nope" + Guid.NewGuid().ToString("N")));
        var error = await Assert.ThrowsAsync<RpcException>(() => build.SolveAsync(state, evaluate: true));
        Assert.Equal(1, Assert.Single(TypedErrors.Of<Solve>(error.Details)).File.Index);
    }

    [EndToEndFact]
    public async Task A_step_can_make_the_definition_that_is_built()
    {
        await using var build = await StartAsync();
        var mark = Guid.NewGuid().ToString("N");
        var inner = await Base.Run(new RunOptions { Args = ["/bin/sh", "-c", $"echo {mark} > /made"] }).MarshalAsync(new MarshalOptions(), build.Token);
        State Nested(string name) => State.Scratch.File(Files.Mkfile("/" + (name.Length > 0 ? name : "buildkit.llb.definition"), 0x1A4, inner.ToByteArray())).Build(name);
        var first = await build.SolveAsync(Nested(""), evaluate: true);
        Assert.Equal(mark + "\n", await build.ReadAsync(first, "/made"));
        var named = await build.SolveAsync(Nested("other.pb"), evaluate: true);
        Assert.Equal(mark + "\n", await build.ReadAsync(named, "/made"));
        // What follows it works on its result.
        var above = await build.SolveAsync(Nested("").File(Files.Mkfile("/more", 0x1A4, "m"u8.ToArray())));
        Assert.Equal(mark + "\n", await build.ReadAsync(above, "/made"));
        await build.ReturnAsync(above);
    }

    [EndToEndFact]
    public async Task A_definition_made_by_a_step_may_do_only_what_the_build_may()
    {
        await using var build = await StartAsync();
        var insecure = await Base.Security(Protocol.Pb.SecurityMode.Insecure).Run("true").MarshalAsync(new MarshalOptions(), build.Token);
        var error = await Assert.ThrowsAsync<RpcException>(() => build.SolveAsync(FileOf("/x", "").File(Files.Mkfile("/buildkit.llb.definition", 0x1A4, insecure.ToByteArray())).Build(), evaluate: true));
        Assert.Equal("failed to load LLB: security.insecure is not allowed", error.Message);
        var missing = await Assert.ThrowsAsync<RpcException>(() => build.SolveAsync(FileOf("/x", "y").Build("nope"), evaluate: true));
        Assert.Equal("failed to open nope: open nope: no such file or directory", missing.Message);
        var broken = await Assert.ThrowsAsync<RpcException>(() => build.SolveAsync(FileOf("/buildkit.llb.definition", "no protobuf").Build(), evaluate: true));
        Assert.StartsWith("failed to parse the definition in buildkit.llb.definition: ", broken.Message, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_failing_step_of_a_nested_definition_is_told()
    {
        await using var build = await StartAsync();
        var inner = await Base.Run(new RunOptions { Args = ["/bin/sh", "-c", "exit 5"] }).MarshalAsync(new MarshalOptions(), build.Token);
        var error = await Assert.ThrowsAsync<RpcException>(() => build.SolveAsync(FileOf("/buildkit.llb.definition", "").File(Files.Mkfile("/buildkit.llb.definition", 0x1A4, inner.ToByteArray())).Build(), evaluate: true));
        Assert.Equal("process \"/bin/sh -c exit 5\" did not complete successfully: exit code: 5", error.Message);
        Assert.Equal(5u, Assert.Single(TypedErrors.Of<ExitMessage>(error.Details)).Code);
    }

    [EndToEndFact]
    public async Task Many_builds_with_nothing_to_build_end_quickly()
    {
        for (var i = 0; i < 10; i++)
        {
            await using var build = await StartAsync(request => request.Internal = true);
            await build.CallAsync(LLBBridgeMethods.Ping, new PingRequest());
            Assert.Empty((await build.ReturnAsync()).ExporterResponse);
        }
    }
}
