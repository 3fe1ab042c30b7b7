using System.Text;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>Definitions in readable form: one JSON line per operation, or a graph for dot (spec 02 §14).</summary>
public static class LlbDump
{
    /// <summary>One line per operation, each ended by a newline; empty for an empty definition.</summary>
    /// <exception cref="LlbException">An operation cannot be parsed.</exception>
    public static byte[] ToJsonLines(Definition definition)
    {
        using var lines = new MemoryStream();
        foreach (var (digest, op) in Parse(definition))
        {
            var json = new CanonicalJsonWriter();
            json.WriteStartObject();
            json.WriteName("Op");
            LlbJson.Write(json, op);
            json.WriteName("Digest");
            json.WriteString(digest);
            json.WriteName("OpMetadata");
            LlbJson.Write(json, definition.Metadata.TryGetValue(digest, out var metadata) ? metadata : new OpMetadata());
            json.WriteEndObject();
            lines.Write(json.WrittenSpan);
            lines.WriteByte((byte)'\n');
        }

        return lines.ToArray();
    }

    /// <summary>A graph in dot's language.</summary>
    /// <exception cref="LlbException">An operation cannot be parsed.</exception>
    public static string ToDot(Definition definition)
    {
        var ops = Parse(definition).ToArray();
        var dot = new StringBuilder("digraph {\n");
        foreach (var (digest, op) in ops)
        {
            var (name, shape) = Describe(digest, op);
            dot.Append($"  {GoSyntax.Quote(digest)} [label={GoSyntax.Quote(name)} shape={GoSyntax.Quote(shape)}];\n");
        }

        foreach (var (digest, op) in ops)
        {
            for (var i = 0; i < op.Inputs.Count; i++)
            {
                var label = op.Exec?.Mounts.LastOrDefault(mount => mount.Input == i && mount.Dest != "/")?.Dest ?? "";
                dot.Append($"  {GoSyntax.Quote(op.Inputs[i].Digest)} -> {GoSyntax.Quote(digest)} [label={GoSyntax.Quote(label)}];\n");
            }
        }

        return dot.Append("}\n").ToString();
    }

    private static IEnumerable<(string Digest, Op Op)> Parse(Definition definition)
    {
        foreach (var bytes in definition.Def)
        {
            Op op;
            try
            {
                op = Op.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException e)
            {
                throw new LlbException($"failed to parse op: {e.Message}", e);
            }

            yield return (Digest.Sha256(bytes.Span).ToString(), op);
        }
    }

    private static (string Name, string Shape) Describe(string digest, Op op) => op.OpCase switch
    {
        Op.OpOneofCase.Source => (op.Source.Identifier, "ellipse"),
        Op.OpOneofCase.Exec => (string.Join(' ', op.Exec.Meta?.Args ?? []), "box"),
        Op.OpOneofCase.Build => ("build", "box3d"),
        Op.OpOneofCase.Merge => ("merge", "invtriangle"),
        Op.OpOneofCase.Diff => ("diff", "doublecircle"),
        Op.OpOneofCase.File => (string.Join(',', op.File.Actions.Select(Describe)), "note"),
        _ => (digest, "plaintext"),
    };

    private static string Describe(Protocol.Pb.FileAction action) => action.ActionCase switch
    {
        Protocol.Pb.FileAction.ActionOneofCase.Copy => $"copy{{src={action.Copy.Src}, dest={action.Copy.Dest}}}",
        Protocol.Pb.FileAction.ActionOneofCase.Mkfile => $"mkfile{{path={action.Mkfile.Path}}}",
        Protocol.Pb.FileAction.ActionOneofCase.Mkdir => $"mkdir{{path={action.Mkdir.Path}}}",
        Protocol.Pb.FileAction.ActionOneofCase.Rm => $"rm{{path={action.Rm.Path}}}",
        Protocol.Pb.FileAction.ActionOneofCase.Symlink => $"symlink{{oldpath={action.Symlink.Oldpath}, newpath={action.Symlink.Newpath}}}",
        _ => "",
    };
}
