using BuildKit.Llb.Marshalling;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>
/// The one byte form of an operation that its digest is taken over: plain fields in field order, then the member
/// of the oneof; defaults left out; maps sorted by key with both halves of each entry written (spec 02 §2).
/// </summary>
public static class CanonicalOp
{
    /// <summary>The canonical bytes of an operation.</summary>
    /// <exception cref="LlbException">A string is not valid Unicode.</exception>
    public static byte[] Encode(Op op)
    {
        var buffer = new ProtoBuffer();
        Write(buffer, op);
        return buffer.ToArray();
    }

    /// <summary>The digest of the canonical bytes.</summary>
    public static Digest Digest(Op op)
    {
        var buffer = new ProtoBuffer();
        Write(buffer, op);
        return Oci.Digest.Sha256(buffer.Written);
    }

    /// <summary>A definition with its maps in sorted order. Nothing on the wire depends on this form; it makes
    /// definitions comparable and files reproducible.</summary>
    public static byte[] Encode(Definition definition)
    {
        var buffer = new ProtoBuffer();
        Write(buffer, definition);
        return buffer.ToArray();
    }

    internal static void Write(ProtoBuffer w, Op op)
    {
        foreach (var input in op.Inputs)
        {
            var start = w.Begin(1);
            w.String(1, input.Digest);
            w.Int(2, input.Index);
            w.End(start);
        }

        if (op.Platform is { } platform)
        {
            var start = w.Begin(10);
            w.String(1, platform.Architecture);
            w.String(2, platform.OS);
            w.String(3, platform.Variant);
            w.String(4, platform.OSVersion);
            w.Strings(5, platform.OSFeatures);
            w.End(start);
        }

        if (op.Constraints is { } constraints)
        {
            var start = w.Begin(11);
            w.Strings(1, constraints.Filter);
            w.End(start);
        }

        switch (op.OpCase)
        {
            case Op.OpOneofCase.Exec:
                Nested(w, 2, op.Exec, ExecWriter.Write);
                break;
            case Op.OpOneofCase.Source:
                Nested(w, 3, op.Source, Write);
                break;
            case Op.OpOneofCase.File:
                Nested(w, 4, op.File, FileWriter.Write);
                break;
            case Op.OpOneofCase.Build:
                Nested(w, 5, op.Build, Write);
                break;
            case Op.OpOneofCase.Merge:
                Nested(w, 6, op.Merge, Write);
                break;
            case Op.OpOneofCase.Diff:
                Nested(w, 7, op.Diff, Write);
                break;
        }
    }

    internal static void Nested<T>(ProtoBuffer w, int field, T message, Action<ProtoBuffer, T> write)
    {
        var start = w.Begin(field);
        write(w, message);
        w.End(start);
    }

    private static void Write(ProtoBuffer w, SourceOp source)
    {
        w.String(1, source.Identifier);
        StringMap(w, 2, source.Attrs);
    }

    private static void Write(ProtoBuffer w, BuildOp build)
    {
        w.Int(1, build.Builder);
        foreach (var (name, input) in Sorted(build.Inputs))
        {
            var entry = w.Begin(2);
            w.String(1, name, always: true);
            var value = w.Begin(2);
            w.Int(1, input.Input);
            w.End(value);
            w.End(entry);
        }

        if (build.Def is { } definition)
            Nested(w, 3, definition, Write);
        StringMap(w, 4, build.Attrs);
    }

    private static void Write(ProtoBuffer w, MergeOp merge)
    {
        foreach (var input in merge.Inputs)
        {
            var start = w.Begin(1);
            w.Int(1, input.Input);
            w.End(start);
        }
    }

    private static void Write(ProtoBuffer w, DiffOp diff)
    {
        if (diff.Lower is { } lower)
        {
            var start = w.Begin(1);
            w.Int(1, lower.Input);
            w.End(start);
        }

        if (diff.Upper is { } upper)
        {
            var start = w.Begin(2);
            w.Int(1, upper.Input);
            w.End(start);
        }
    }

    private static void Write(ProtoBuffer w, Definition definition)
    {
        foreach (var bytes in definition.Def)
            w.Bytes(1, bytes.Span, always: true);
        foreach (var (digest, metadata) in Sorted(definition.Metadata))
        {
            var entry = w.Begin(2);
            w.String(1, digest, always: true);
            Nested(w, 2, metadata, Write);
            w.End(entry);
        }

        if (definition.Source is { } source)
            Nested(w, 3, source, Write);
    }

    private static void Write(ProtoBuffer w, OpMetadata metadata)
    {
        w.Bool(1, metadata.IgnoreCache);
        StringMap(w, 2, metadata.Description);
        if (metadata.ExportCache is { } export)
        {
            var start = w.Begin(4);
            w.Bool(1, export.Value);
            w.End(start);
        }

        foreach (var (id, required) in Sorted(metadata.Caps))
        {
            var entry = w.Begin(5);
            w.String(1, id, always: true);
            w.Bool(2, required, always: true);
            w.End(entry);
        }

        if (metadata.ProgressGroup is { } group)
        {
            var start = w.Begin(6);
            w.String(1, group.Id);
            w.String(2, group.Name);
            w.Bool(3, group.Weak);
            w.End(start);
        }
    }

    private static void Write(ProtoBuffer w, Source source)
    {
        foreach (var (digest, locations) in Sorted(source.Locations))
        {
            var entry = w.Begin(1);
            w.String(1, digest, always: true);
            Nested(w, 2, locations, Write);
            w.End(entry);
        }

        foreach (var info in source.Infos)
        {
            var start = w.Begin(2);
            w.String(1, info.Filename);
            w.Bytes(2, info.Data.Span);
            if (info.Definition is { } definition)
                Nested(w, 3, definition, Write);
            w.String(4, info.Language);
            w.End(start);
        }
    }

    private static void Write(ProtoBuffer w, Locations locations)
    {
        foreach (var location in locations.Locations_)
        {
            var start = w.Begin(1);
            w.Int(1, location.SourceIndex);
            foreach (var range in location.Ranges)
            {
                var at = w.Begin(2);
                Position(w, 1, range.Start);
                Position(w, 2, range.End);
                w.End(at);
            }

            w.End(start);
        }
    }

    private static void Position(ProtoBuffer w, int field, Position? position)
    {
        if (position is null)
            return;
        var start = w.Begin(field);
        w.Int(1, position.Line);
        w.Int(2, position.Character);
        w.End(start);
    }

    private static void StringMap(ProtoBuffer w, int field, IDictionary<string, string> map)
    {
        foreach (var (key, value) in Sorted(map))
        {
            var entry = w.Begin(field);
            w.String(1, key, always: true);
            w.String(2, value, always: true);
            w.End(entry);
        }
    }

    private static IEnumerable<KeyValuePair<string, T>> Sorted<T>(IDictionary<string, T> map) =>
        map.Count < 2 ? map : map.OrderBy(entry => entry.Key, ByteOrder.Instance);
}
