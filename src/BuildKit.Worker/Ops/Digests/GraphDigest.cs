using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Worker.Ops.Digests;

/// <summary>Cache keys of merge, diff and build operations (spec 03 §8.6). Their inputs count with their definitions.</summary>
public static class GraphDigest
{
    /// <summary>Key of a merge.</summary>
    public static OpKey Merge(MergeOp merge) => Compute("buildkit.merge.v0", "Merge", json => LlbJson.Write(json, merge), merge.Inputs.Count);

    /// <summary>Key of a diff.</summary>
    public static OpKey Diff(DiffOp diff) => Compute(
        "buildkit.diff.v0", "Diff", json => LlbJson.Write(json, diff),
        (diff.Lower is null or { Input: -1 } ? 0 : 1) + (diff.Upper is null or { Input: -1 } ? 0 : 1));

    /// <summary>Key of a nested build.</summary>
    /// <param name="build">The operation.</param>
    /// <param name="inputCount">How many inputs the vertex has.</param>
    public static OpKey Build(BuildOp build, int inputCount) =>
        Compute("buildkit.build.v0", "Exec", json => LlbJson.Write(json, build), inputCount);

    private static OpKey Compute(string type, string name, Action<CanonicalJsonWriter> write, int inputCount)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteText("Type", type);
        json.WriteName(name);
        write(json);
        json.WriteEndObject();
        return new OpKey(Digest.Sha256(json.WrittenSpan), [.. Enumerable.Repeat(InputKey.DefinitionOnly, inputCount)]) { Hashed = json.ToArray() };
    }
}
