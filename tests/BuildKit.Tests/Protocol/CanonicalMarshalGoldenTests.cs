using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Protocol;

public class CanonicalMarshalGoldenTests
{
    public static TheoryData<string> Definitions()
    {
        return [.. Golden.Index("llb", "examples").Select(example => example.GetProperty("name").GetString() + ".pb")];
    }

    [GoldenTheory]
    [MemberData(nameof(Definitions))]
    public void Ops_of_the_reference_marshal_to_their_own_bytes(string file)
    {
        var definition = Definition.Parser.ParseFrom(File.ReadAllBytes(Golden.Path("llb", file)));
        foreach (var op in definition.Def)
        {
            Assert.Equal(Convert.ToHexString(op.Span), Convert.ToHexString(CanonicalMarshal.ToBytes(Op.Parser.ParseFrom(op))));
            Assert.Equal(Convert.ToHexString(op.Span), Convert.ToHexString(CanonicalMarshal.CanonicalizeOp(op.Memory)));
        }
    }

    [GoldenTheory]
    [MemberData(nameof(Definitions))]
    public void Definitions_of_the_reference_marshal_to_their_own_bytes(string file)
    {
        var bytes = File.ReadAllBytes(Golden.Path("llb", file));
        Assert.Equal(
            Convert.ToHexString(bytes), Convert.ToHexString(CanonicalMarshal.ToBytes(Definition.Parser.ParseFrom(bytes))));
    }

    [Fact]
    public void A_zero_oneof_scalar_and_empty_map_values_are_written()
    {
        var op = new Op
        {
            File = new FileOp
            {
                Actions =
                {
                    new FileAction
                    {
                        Rm = new FileActionRm(),
                    },
                    new FileAction
                    {
                        Mkdir = new FileActionMkDir
                        {
                            Owner = new ChownOpt { User = new UserOpt { ByID = 0 } },
                        },
                    },
                },
            },
        };
        Assert.Contains("22040A021000", Convert.ToHexString(CanonicalMarshal.ToBytes(op)), StringComparison.Ordinal);
        var source = new SourceOp { Attrs = { ["b"] = "", ["a"] = "1" } };
        Assert.Equal("12060A01611201311205" + "0A01621200", Convert.ToHexString(CanonicalMarshal.ToBytes(source)));
    }

    [Fact]
    public void Op_bytes_written_in_field_order_become_canonical()
    {
        var op = new Op
        {
            Source = new SourceOp { Identifier = "docker-image://docker.io/library/alpine:3.19" },
            Platform = new Platform { Architecture = "amd64", OS = "linux" },
            Constraints = new WorkerConstraints(),
        };
        var bytes = CanonicalMarshal.ToBytes(op);
        Assert.Equal(66, bytes.Length);
        Assert.Equal(
            "d76f168e6859e9d648332ead9530c3005bb2cd99b7b8b570d2f5946343dae9d8",
            Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)));
    }

    [GoldenTheory]
    [InlineData("0a")]
    [InlineData("0aff")]
    [InlineData("1affffffff0f")]
    [InlineData("03")]
    [InlineData("00")]
    [InlineData("80808080808080808080808080")]
    public void Malformed_bytes_are_refused(string hex) =>
        Assert.Throws<InvalidDataException>(() => { CanonicalMarshal.CanonicalizeOp(Convert.FromHexString(hex)); });
}
