using System.Text.Json;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Llb;

public sealed class MarshalGoldenTests
{
    /// <summary>Every example of the set.</summary>
    public static TheoryData<string> Examples() => Golden.Index("llb", "examples").Names();

    /// <summary>The examples whose program is written with our API.</summary>
    public static TheoryData<string> Programs() => Golden.Index("llb", "examples").Where(example => GoldenPrograms.NameOf(example) is not null).Names();

    [GoldenTheory]
    [MemberData(nameof(Programs))]
    public async Task Each_program_marshals_to_the_known_operations_in_the_known_order(string name)
    {
        var program = GoldenPrograms.NameOf(Golden.Index("llb", "examples").Single(example => example.GetProperty("name").GetString() == name))!;
        var definition = await GoldenPrograms.MarshalAsync(program);
        using var expected = JsonDocument.Parse(await File.ReadAllBytesAsync(Golden.Path("llb", name + ".json")));
        var ops = expected.RootElement.GetProperty("ops");
        var hex = ops.ValueKind == JsonValueKind.Array ? ops.EnumerateArray().Select(op => op.GetProperty("Hex").GetString()!).ToArray() : [];
        Assert.Equal(hex, definition.Def.Select(op => Convert.ToHexStringLower(op.Span)));
    }

    [GoldenTheory]
    [MemberData(nameof(Programs))]
    public async Task Each_program_marshals_to_the_known_definition(string name)
    {
        var program = GoldenPrograms.NameOf(Golden.Index("llb", "examples").Single(example => example.GetProperty("name").GetString() == name))!;
        var definition = await GoldenPrograms.MarshalAsync(program);
        var expected = await File.ReadAllBytesAsync(Golden.Path("llb", name + ".pb"));
        if (program == "20-metadata")
        {
            // The content of the source file is not part of the description of this program.
            definition.Source.Infos.Clear();
            var parsed = Definition.Parser.ParseFrom(expected);
            parsed.Source.Infos.Clear();
            expected = CanonicalOp.Encode(parsed);
        }

        Assert.Equal(Convert.ToHexStringLower(expected), Convert.ToHexStringLower(CanonicalOp.Encode(definition)));
    }

    [GoldenTheory]
    [MemberData(nameof(Examples))]
    public async Task Known_operations_keep_their_bytes_when_decoded_and_encoded(string name)
    {
        var bytes = await File.ReadAllBytesAsync(Golden.Path("llb", name + ".pb"));
        var definition = Definition.Parser.ParseFrom(bytes);
        Assert.All(definition.Def, op => Assert.Equal(op.ToByteArray(), CanonicalOp.Encode(Op.Parser.ParseFrom(op))));
        Assert.Equal(bytes, CanonicalOp.Encode(definition));
    }
}
