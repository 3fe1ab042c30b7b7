using System.Text.Json;
using BuildKit.Client;
using BuildKit.Oci;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>Cases of kind <c>unary</c>: one call with a request of any bytes.</summary>
internal static class HostileCall
{
    internal static async Task<HostileOutcome> RunAsync(HostileFixture fixture, JsonElement hostile, TimeSpan limit)
    {
        var request = hostile.TryGetProperty("request_generator", out var generator) ? Generate(generator) : HostileFixture.Unpack(hostile.GetProperty("request_gz_b64"));
        var path = hostile.GetProperty("method").GetString()!;
        var slash = path.LastIndexOf('/');
        var method = new Method<RawMessage, RawMessage>(MethodKind.DuplexStreaming, path[1..slash], path[(slash + 1)..], RawMessage.Parser, RawMessage.Parser);
        await using var channel = await DaemonConnection.ConnectAsync(fixture.Daemon.Address, new TlsOptions(), CancellationToken.None);
        try
        {
            await using var call = channel.Open(method, new CallOptions(Timeout: limit), CancellationToken.None);
            await call.SendAsync(new RawMessage(request), CancellationToken.None);
            await call.CompleteAsync(CancellationToken.None);
            while (await call.ReadAsync(CancellationToken.None) is not null)
            {
            }
            return new HostileOutcome("ok", "");
        }
        catch (RpcException refused)
        {
            Assert.True(refused.Code != StatusCode.DeadlineExceeded, $"no answer within {limit}");
            return new HostileOutcome("error", $"{refused.Code}: {refused.Message}");
        }
    }

    /// <summary>The requests that are too large to be recorded (member <c>request_generator</c>).</summary>
    private static byte[] Generate(JsonElement generator)
    {
        var kind = generator.GetProperty("kind").GetString();
        var count = generator.GetProperty("n").GetInt32();
        var definition = new Definition();
        var root = Add(new Op { Source = new SourceOp { Identifier = generator.GetProperty("root_source").GetString()! } });
        var last = root;
        if (kind == "wide")
        {
            var merge = new Op { Merge = new MergeOp() };
            for (var i = 0; i < count; i++)
            {
                merge.Inputs.Add(new Input { Digest = root });
                merge.Merge.Inputs.Add(new MergeInput { Input = i });
            }
            last = Add(merge);
        }
        else
        {
            for (var i = 0; i < count; i++)
            {
                last = kind switch
                {
                    "chain" => Add(new Op
                    {
                        Inputs = { new Input { Digest = last } },
                        File = new FileOp { Actions = { new FileAction { SecondaryInput = -1, Mkdir = new FileActionMkDir { Path = $"/d{i}", Mode = 0x1ED, MakeParents = true, Timestamp = -1 } } } },
                    }),
                    "diamond" => Add(new Op
                    {
                        Inputs = { new Input { Digest = last }, new Input { Digest = last } },
                        Merge = new MergeOp { Inputs = { new MergeInput(), new MergeInput { Input = 1 } } },
                    }),
                    _ => throw new InvalidOperationException($"a generator this test does not know: {kind}"),
                };
            }
        }
        Add(new Op { Inputs = { new Input { Digest = last } } });
        return new SolveRequest { Ref = "gen-" + kind, Definition = definition, Cache = new CacheOptions(), Internal = true }.ToByteArray();

        string Add(Op op)
        {
            definition.Def.Add(op.ToByteString());
            return Digest.Sha256(definition.Def[^1].Span).ToString();
        }
    }
}
