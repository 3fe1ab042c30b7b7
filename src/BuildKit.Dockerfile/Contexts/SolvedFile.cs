using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>The Dockerfile with all that positions in it need.</summary>
/// <param name="Content">Its bytes.</param>
/// <param name="Map">Source map for operations.</param>
/// <param name="Vertex">Digest of the operation that loaded it: warnings are shown there.</param>
public sealed record DockerfileSource(byte[] Content, SourceMap Map, Digest Vertex)
{
    /// <summary>The file as errors and warnings carry it.</summary>
    public SourceInfo Info => new()
    {
        Filename = Map.Filename,
        Language = Map.Language,
        Data = Google.Protobuf.ByteString.CopyFrom(Content),
        Definition = Map.Definition,
    };
}

/// <summary>Helpers around definitions.</summary>
internal static class Definitions
{
    /// <summary>Digest of the operation a definition results in; empty for an empty definition.</summary>
    public static Digest Head(Definition definition)
    {
        if (definition.Def.Count == 0)
            return default;
        var last = Op.Parser.ParseFrom(definition.Def[^1]);
        return last.Inputs.Count == 0 ? default : Digest.Unchecked(last.Inputs[0].Digest);
    }

    /// <summary>Constraints with a name shown as <c>[internal] …</c>.</summary>
    public static OpConstraints Internal(string name) => OpConstraints.None.WithCustomName("[internal] " + name);
}
