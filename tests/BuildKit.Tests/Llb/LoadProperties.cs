using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;
using FsCheck.Fluent;
using Google.Protobuf;

namespace BuildKit.Tests.Llb;

/// <summary>Whatever a client sends, loading answers with a graph or with an error that says what is wrong.</summary>
public sealed class LoadProperties
{
    private static readonly Definition[] s_definitions =
    [
        .. ((IEnumerable<object[]>)MarshalGoldenTests.Programs()).Select(row => (string)row[0])
            .Select(name => Definition.Parser.ParseFrom(File.ReadAllBytes(Golden.Path("llb", name + ".pb"))))
            .Where(definition => definition.Def.Count > 0),
    ];

    [Fact]
    public void Damaged_bytes_never_do_worse_than_a_clear_error() => FsCheck.Check.One(FsCheck.Config.QuickThrowOnFailure, Prop.ForAll<int, int, byte>((which, where, value) =>
    {
        var definition = s_definitions[(int)((uint)which % s_definitions.Length)].Clone();
        var entry = (int)((uint)where % definition.Def.Count);
        var bytes = definition.Def[entry].ToByteArray();
        bytes[(uint)(where / 7) % bytes.Length] = value;
        definition.Def[entry] = ByteString.CopyFrom(bytes);
        return LoadsOrExplains(definition);
    }));

    [Fact]
    public void Damage_that_keeps_references_intact_never_does_worse_than_a_clear_error() => FsCheck.Check.One(FsCheck.Config.QuickThrowOnFailure, Prop.ForAll<int, int, byte>((which, where, value) =>
    {
        // Later entries refer to the damaged one by its new digest, so that checks beyond the digest are reached.
        var definition = s_definitions[(int)((uint)which % s_definitions.Length)];
        var renamed = new Dictionary<string, string>(StringComparer.Ordinal);
        var damaged = new Definition();
        var target = (int)((uint)where % definition.Def.Count);
        foreach (var (index, sent) in definition.Def.Index())
        {
            var op = Op.Parser.ParseFrom(sent);
            foreach (var input in op.Inputs)
                input.Digest = renamed.GetValueOrDefault(input.Digest, input.Digest);
            var bytes = CanonicalOp.Encode(op);
            if (index == target)
                bytes[(uint)(where / 7) % bytes.Length] = value;
            renamed[Digest.Sha256(sent.Span).ToString()] = Digest.Sha256(bytes).ToString();
            damaged.Def.Add(ByteString.CopyFrom(bytes));
        }

        return LoadsOrExplains(damaged);
    }));

    [Fact]
    public void Loading_does_not_depend_on_the_order_of_entries() => FsCheck.Check.One(FsCheck.Config.QuickThrowOnFailure, Prop.ForAll<int, int>((which, seed) =>
    {
        var definition = s_definitions[(int)((uint)which % s_definitions.Length)];
        var shuffled = definition.Clone();
        var entries = definition.Def.SkipLast(1).ToArray();
        new Random(seed).Shuffle(entries);
        shuffled.Def.Clear();
        shuffled.Def.AddRange(entries);
        shuffled.Def.Add(definition.Def[^1]);
        return Load(definition).Result.Vertex.Digest == Load(shuffled).Result.Vertex.Digest;
    }));

    private static LlbGraph Load(Definition definition) =>
        LlbGraph.Load(definition, options: new LlbLoadOptions { AllowNetworkHost = true, AllowSecurityInsecure = true });

    private static bool LoadsOrExplains(Definition definition)
    {
        try
        {
            var graph = Load(definition);
            return graph.Vertices.All(vertex => vertex.Digest == CanonicalOp.Digest(WithSentPlatform(vertex, definition)));
        }
        catch (LlbException e)
        {
            return e.Message.Length > 0;
        }
    }

    /// <summary>A vertex' operation with the platform the client sent, which is what its digest covers.</summary>
    private static Op WithSentPlatform(LlbVertex vertex, Definition definition)
    {
        var op = vertex.Op.Clone();
        op.Platform = definition.Def.Where(bytes => Digest.Sha256(bytes.Span) == vertex.SentDigest).Select(bytes => Op.Parser.ParseFrom(bytes)).First().Platform;
        return op;
    }
}
