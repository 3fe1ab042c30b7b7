using System.Text;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Llb;

public sealed class DumpGoldenTests
{
    public static TheoryData<string> Examples() => MarshalGoldenTests.Examples();

    [GoldenTheory]
    [MemberData(nameof(Examples))]
    public void Known_definitions_dump_to_the_known_lines(string name) =>
        Assert.Equal(File.ReadAllText(Golden.Path("llb", name + ".dump.jsonl")), Encoding.UTF8.GetString(LlbDump.ToJsonLines(Read(name))));

    [GoldenTheory]
    [MemberData(nameof(Examples))]
    public void Known_definitions_dump_to_the_known_graph(string name) =>
        Assert.Equal(File.ReadAllText(Golden.Path("llb", name + ".dot")), LlbDump.ToDot(Read(name)));

    private static Definition Read(string name) => Definition.Parser.ParseFrom(File.ReadAllBytes(Golden.Path("llb", name + ".pb")));
}
