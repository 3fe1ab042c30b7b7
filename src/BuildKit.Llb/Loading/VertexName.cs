using System.Text;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>What people see of an operation (spec 02 §8, spec 03 §2.8).</summary>
internal static class VertexName
{
    /// <summary>Merges of merges would otherwise double their names at each level.</summary>
    private const int LongestCombinedName = 16 * 1024;

    public static string Of(LlbVertex vertex)
    {
        if (vertex.Metadata is { } metadata && metadata.Description.TryGetValue(OpConstraints.CustomNameKey, out var custom))
            return custom;
        var op = vertex.Op;
        return op.OpCase switch
        {
            Op.OpOneofCase.Source => op.Source.Identifier,
            Op.OpOneofCase.Exec => string.Join(' ', op.Exec.Meta.Args),
            Op.OpOneofCase.File => string.Join(", ", op.File.Actions.Select(Of).OfType<string>()),
            Op.OpOneofCase.Build => "build",
            Op.OpOneofCase.Merge => Merge(vertex),
            Op.OpOneofCase.Diff => Shortened($"diff {Side(vertex, op.Diff.Lower.Input)} -> {Side(vertex, op.Diff.Upper.Input)}"),
            _ => "unknown",
        };
    }

    private static string Merge(LlbVertex vertex)
    {
        var name = new StringBuilder("merge (");
        foreach (var (index, input) in vertex.Inputs.Index())
        {
            name.Append(index == 0 ? "" : ", ").Append(input.Vertex.Name);
            if (name.Length > LongestCombinedName)
                break;
        }

        return Shortened(name.Append(')').ToString());
    }

    private static string Side(LlbVertex vertex, long input) => input == -1 ? "scratch" : $"({vertex.Inputs[(int)input].Vertex.Name})";

    private static string Shortened(string name) => name.Length <= LongestCombinedName ? name : name[..LongestCombinedName] + "...";

    private static string? Of(Protocol.Pb.FileAction action) => action.ActionCase switch
    {
        Protocol.Pb.FileAction.ActionOneofCase.Mkdir => $"mkdir {action.Mkdir.Path}",
        Protocol.Pb.FileAction.ActionOneofCase.Mkfile => $"mkfile {action.Mkfile.Path}",
        Protocol.Pb.FileAction.ActionOneofCase.Symlink => $"symlink {action.Symlink.Newpath} -> {action.Symlink.Oldpath}",
        Protocol.Pb.FileAction.ActionOneofCase.Rm => $"rm {action.Rm.Path}",
        Protocol.Pb.FileAction.ActionOneofCase.Copy => $"copy {action.Copy.Src} {action.Copy.Dest}",
        _ => null,
    };
}
