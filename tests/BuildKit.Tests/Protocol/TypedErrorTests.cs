using BuildKit.Protocol.ErrDefs;
using BuildKit.Protocol.Errors;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Tests.Protocol;

public class TypedErrorTests
{
    private const string SolveJson =
        """{"inputIDs":["a",""],"mountIDs":["b"],"op":{"inputs":[{"digest":"sha256:in"},{"digest":"sha256:in2","index":"1"}],"exec":{"meta":{"args":["/bin/sh","-c","false \u0026\u0026 echo \u003chi\u003e"],"cwd":"/","removeMountStubsRecursive":true},"mounts":[{"dest":"/"},{"input":"-1","dest":"/x","output":"-1","mountType":"CACHE","cacheOpt":{"ID":"/x"}}],"network":"HOST"},"platform":{"Architecture":"amd64","OS":"linux"},"constraints":{}},"description":{"llb.customname":"x"}}""";

    [Fact]
    public void The_worked_Solve_value_reads_and_writes_back_to_its_bytes()
    {
        var any = new Any { TypeUrl = "github.com/moby/buildkit/errdefs.Solve+json", Value = ByteString.CopyFromUtf8(SolveJson) };
        var solve = Assert.IsType<Solve>(TypedErrors.Decode(any));
        Assert.Equal(-1, solve.Op.Exec.Mounts[1].Input);
        Assert.Equal(NetMode.Host, solve.Op.Exec.Network);
        Assert.Equal(SolveJson, TypedErrors.Encode(solve).Value.ToStringUtf8());
    }

    [Fact]
    public void The_worked_status_has_the_same_bytes()
    {
        const string Capability = "moby.buildkit.frontend.inputs";
        var status = GrpcStatus.ToStatus(new RpcException(
            StatusCode.Unimplemented,
            $"unsupported frontend capability {Capability}",
            [TypedErrors.Encode(new FrontendCap { Name = Capability })]));
        Assert.Equal(
            "CAwSPXVuc3VwcG9ydGVkIGZyb250ZW5kIGNhcGFiaWxpdHkgbW9ieS5idWlsZGtpdC5mcm9udGVuZC5pbnB1dHMaXQoxZ2l0aHViLmNvbS9tb2J5L2J1aWxka2l0L2VycmRlZnMuRnJvbnRlbmRDYXAranNvbhIoeyJuYW1lIjoibW9ieS5idWlsZGtpdC5mcm9udGVuZC5pbnB1dHMifQ",
            Convert.ToBase64String(status.ToByteArray()).TrimEnd('='));
    }

    [Fact]
    public void An_exit_code_of_zero_is_an_empty_object()
    {
        Assert.Equal("{}", TypedErrors.Encode(new ExitMessage()).Value.ToStringUtf8());
        Assert.Equal("""{"Code":7}""", TypedErrors.Encode(new ExitMessage { Code = 7 }).Value.ToStringUtf8());
    }

    [Fact]
    public void A_source_round_trips_as_numbers_and_base64()
    {
        var source = new BuildKit.Protocol.ErrDefs.Source
        {
            Info = new SourceInfo { Filename = "Dockerfile", Data = ByteString.CopyFromUtf8("a>>?"), Language = "Dockerfile" },
            Ranges = { new BuildKit.Protocol.Pb.Range { Start = new Position { Line = 3 }, End = new Position { Line = 3 } } },
        };
        var any = TypedErrors.Encode(source);
        Assert.Equal(
            """{"info":{"filename":"Dockerfile","data":"YT4+Pw==","language":"Dockerfile"},"ranges":[{"start":{"line":3},"end":{"line":3}}]}""",
            any.Value.ToStringUtf8());
        Assert.Equal(source, TypedErrors.Decode(any));
    }

    [Theory]
    [InlineData("errdefs.Vertex+json", "{\"DIGEST\":\"d\",\"other\":[1]}", true)]
    [InlineData("errdefs.Vertex+json", "{", false)]
    [InlineData("errdefs.Vertex+json", "{\"digest\":7}", false)]
    [InlineData("errdefs.Vertex+json", "[]", false)]
    [InlineData("errdefs.Solve+json", "{\"other\":1}", false)]
    [InlineData("errdefs.Solve+json", "{\"cache\":{\"index\":\"1\"}}", true)]
    [InlineData("errdefs.Nothing+json", "{}", false)]
    public void Unknown_keys_spoil_only_Solve_and_malformed_details_are_dropped(string type, string json, bool known) =>
        Assert.Equal(
            known,
            TypedErrors.Decode(new Any { TypeUrl = "github.com/moby/buildkit/" + type, Value = ByteString.CopyFromUtf8(json) }) is not null);
}
