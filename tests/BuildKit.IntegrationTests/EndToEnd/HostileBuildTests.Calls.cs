using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.Client;
using BuildKit.IntegrationTests.Support;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <content>Calls of the daemon's API with broken definitions and requests: the golden set's cases of kind <c>unary</c>.</content>
public sealed partial class HostileBuildTests
{
    public static TheoryData<string> Calls() => Cases("unary");

    [EndToEndTheory]
    [MemberData(nameof(Calls))]
    public async Task A_broken_call_harms_nobody(string name)
    {
        using var json = JsonDocument.Parse(await File.ReadAllBytesAsync(Golden.Path("hostile", name + ".json")));
        var hostile = json.RootElement;
        await fixture.PrepareAsync(hostile.TryGetProperty("fresh_state", out var fresh) && fresh.GetBoolean());
        fixture.Serve(hostile.TryGetProperty("registry", out var routes) ? routes : null);
        var mountsBefore = fixture.Daemon.MountsBelowRoot();
        var limits = hostile.GetProperty("limits");
        var expect = hostile.GetProperty("expect");

        var error = await CallAsync(hostile.GetProperty("method").GetString()!, Request(hostile), TimeSpan.FromSeconds(limits.GetProperty("seconds").GetDouble()));

        var result = expect.GetProperty("result").GetString();
        if (result is "ok" or "error")
            Assert.True(error is null == (result == "ok"), $"expected {result}, got {error?.ToString() ?? "an answer"}");
        if (error is not null && expect.TryGetProperty("error_regex", out var regex))
            Assert.Matches(new Regex(regex.GetString()!, RegexOptions.None, TimeSpan.FromSeconds(5)), $"{error.Code} {error.Message}");
        Assert.DoesNotContain(HostileFixture.Token, error?.Message ?? "", StringComparison.Ordinal);
        await AssertUnharmedAsync(mountsBefore, limits.GetProperty("memory_mb").GetInt64());
    }

    [EndToEndFact]
    public async Task A_chain_of_many_operations_is_refused_or_built_and_the_daemon_goes_on()
    {
        await fixture.PrepareAsync(isFresh: false);
        var mountsBefore = fixture.Daemon.MountsBelowRoot();
        var request = new SolveRequest { Ref = Guid.NewGuid().ToString("N"), Definition = Chain(15_000, "local://none") };
        Assert.InRange(request.CalculateSize(), 0, 16 << 20); // what a message may hold
        var error = await CallAsync("/moby.buildkit.v1.Control/Solve", request.ToByteArray(), TimeSpan.FromMinutes(1));
        Assert.NotNull(error); // nobody offers the directory
        await AssertUnharmedAsync(mountsBefore, 1024);
    }

    /// <summary>Sends the bytes as they are; the error answered, or null.</summary>
    private async Task<RpcException?> CallAsync(string method, byte[] request, TimeSpan limit)
    {
        var parts = method.Split('/');
        // The fields of the request are unknown to this message and travel as they are.
        var raw = new Method<InfoRequest, InfoResponse>(MethodKind.ServerStreaming, parts[1], parts[2], InfoRequest.Parser, InfoResponse.Parser);
        await using var channel = await DaemonConnection.ConnectAsync(fixture.Daemon.Address, new TlsOptions(), CancellationToken.None);
        try
        {
            await using var call = channel.Open(raw, new CallOptions(Timeout: limit), CancellationToken.None);
            await call.SendAsync(InfoRequest.Parser.ParseFrom(request), CancellationToken.None);
            await call.CompleteAsync(CancellationToken.None);
            while (await call.ReadAsync(CancellationToken.None) is not null)
            {
            }
            return null;
        }
        catch (RpcException answer)
        {
            return answer;
        }
    }

    private async Task AssertUnharmedAsync(IReadOnlyList<string> mountsBefore, long memoryMebibytes)
    {
        Assert.True(fixture.Daemon.IsRunning, fixture.Daemon.Log);
        fixture.AssertCanaryUntouched();
        Assert.Empty(fixture.CanaryRequests);
        Assert.InRange(fixture.PeakMebibytes(), 0, memoryMebibytes);
        await fixture.AssertWorksAsync();
        await AssertNoMoreMountsAsync(mountsBefore);
    }

    private static byte[] Request(JsonElement hostile)
    {
        if (hostile.TryGetProperty("request_gz_b64", out var packed))
            return HostileFixture.Unpack(packed);
        var generator = hostile.GetProperty("request_generator");
        Assert.Equal("chain", generator.GetProperty("kind").GetString());
        return new SolveRequest { Ref = Guid.NewGuid().ToString("N"), Definition = Chain(generator.GetProperty("n").GetInt32(), generator.GetProperty("root_source").GetString()!) }.ToByteArray();
    }

    /// <summary>A definition whose every operation needs the one before.</summary>
    private static Definition Chain(int length, string source)
    {
        var definition = new Definition();
        var last = Add(new Op { Source = new SourceOp { Identifier = source }, Constraints = new WorkerConstraints() });
        for (var i = 0; i < length; i++)
        {
            var file = new FileOp();
            file.Actions.Add(new Protocol.Pb.FileAction { SecondaryInput = -1, Mkdir = new FileActionMkDir { Path = $"/d{i}", Mode = 0x1ED, Timestamp = -1 } });
            last = Add(new Op { Inputs = { new Input { Digest = last } }, File = file, Constraints = new WorkerConstraints() });
        }
        Add(new Op { Inputs = { new Input { Digest = last } } });
        return definition;

        string Add(Op op)
        {
            var bytes = CanonicalOp.Encode(op);
            definition.Def.Add(ByteString.CopyFrom(bytes));
            return Digest.Sha256(bytes).ToString();
        }
    }
}
