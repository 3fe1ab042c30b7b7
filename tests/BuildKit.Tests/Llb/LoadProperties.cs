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

    [Fact]
    public void A_chain_of_a_hundred_thousand_operations_is_loaded()
    {
        var definition = new Definition();
        var last = Add(new Op { Source = new SourceOp { Identifier = "local://x" }, Constraints = new WorkerConstraints() });
        for (var i = 0; i < 100_000; i++)
        {
            var file = new FileOp { Actions = { new BuildKit.Protocol.Pb.FileAction { SecondaryInput = -1, Rm = new FileActionRm { Path = $"/{i}" } } } };
            last = Add(new Op { Inputs = { new Input { Digest = last } }, File = file, Constraints = new WorkerConstraints() });
        }
        Add(new Op { Inputs = { new Input { Digest = last } } });
        Assert.Equal(100_001, Load(definition).Vertices.Count);

        string Add(Op op)
        {
            var bytes = CanonicalOp.Encode(op);
            definition.Def.Add(ByteString.CopyFrom(bytes));
            return Digest.Sha256(bytes).ToString();
        }
    }

    [Fact]
    public void Forty_levels_of_merges_of_the_level_below_are_loaded_once()
    {
        // 2^40 paths lead from the result to the source.
        var state = State.Scratch.File(Files.Mkdir("/d", 0x1ED));
        for (var i = 0; i < 40; i++)
            state = State.Merge([state, state]);
        Assert.Equal(41, Load(state.MarshalAsync().GetAwaiter().GetResult()).Vertices.Count);
    }

    private static LlbGraph Load(Definition definition) =>
        LlbGraph.Load(definition, options: new LlbLoadOptions { AllowNetworkHost = true, AllowSecurityInsecure = true });

    private static bool LoadsOrExplains(Definition definition)
    {
        try
        {
            var graph = Load(definition);
            return graph.Vertices.All(vertex => vertex.Digest == CanonicalOp.Digest(AsSent(vertex, definition)));
        }
        catch (LlbException e)
        {
            return e.Message.Length > 0;
        }
    }

    /// <summary>A vertex' operation with the platform and the optional devices the client sent, which is what its digest covers.</summary>
    private static Op AsSent(LlbVertex vertex, Definition definition)
    {
        var op = vertex.Op.Clone();
        var sent = definition.Def.Where(bytes => Digest.Sha256(bytes.Span) == vertex.SentDigest).Select(bytes => Op.Parser.ParseFrom(bytes)).First();
        op.Platform = sent.Platform;
        if (op.Exec is { } exec)
        {
            exec.CdiDevices.Clear();
            exec.CdiDevices.AddRange(sent.Exec.CdiDevices);
        }
        return op;
    }
}
