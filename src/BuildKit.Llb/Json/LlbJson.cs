using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf.Collections;

namespace BuildKit.Llb;

/// <summary>
/// Operations as JSON, byte for byte as the ecosystem writes them: fields in order of declaration, zero values left
/// out, enums and 64-bit numbers as numbers (spec 02 §14, spec 03 §8.2). Cache keys are digests of this form.
/// </summary>
public static partial class LlbJson
{
    /// <summary>Writes an operation.</summary>
    public static void Write(CanonicalJsonWriter json, Op op)
    {
        json.WriteStartObject();
        List(json, "inputs", op.Inputs, static (json, input) =>
        {
            json.WriteStartObject();
            json.WriteText("digest", input.Digest);
            json.WriteNonZero("index", input.Index);
            json.WriteEndObject();
        });
        json.WriteName("Op");
        json.WriteStartObject();
        Message(json, "exec", op.Exec, Write);
        Message(json, "source", op.Source, Write);
        Message(json, "file", op.File, Write);
        Message(json, "build", op.Build, Write);
        Message(json, "merge", op.Merge, Write);
        Message(json, "diff", op.Diff, Write);
        json.WriteEndObject();
        Message(json, "platform", op.Platform, Write);
        Message(json, "constraints", op.Constraints, static (json, constraints) =>
        {
            json.WriteStartObject();
            json.WriteStrings("filter", constraints.Filter);
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    /// <summary>Writes a platform.</summary>
    public static void Write(CanonicalJsonWriter json, Protocol.Pb.Platform platform)
    {
        json.WriteStartObject();
        json.WriteText("Architecture", platform.Architecture);
        json.WriteText("OS", platform.OS);
        json.WriteText("Variant", platform.Variant);
        json.WriteText("OSVersion", platform.OSVersion);
        json.WriteStrings("OSFeatures", platform.OSFeatures);
        json.WriteEndObject();
    }

    /// <summary>Writes a source operation.</summary>
    public static void Write(CanonicalJsonWriter json, SourceOp source)
    {
        json.WriteStartObject();
        json.WriteText("identifier", source.Identifier);
        json.WriteMap("attrs", source.Attrs);
        json.WriteEndObject();
    }

    /// <summary>Writes a build operation.</summary>
    public static void Write(CanonicalJsonWriter json, BuildOp build)
    {
        json.WriteStartObject();
        json.WriteNonZero("builder", build.Builder);
        Map(json, "inputs", build.Inputs, static (json, input) => Input(json, input.Input));
        Message(json, "def", build.Def, Write);
        json.WriteMap("attrs", build.Attrs);
        json.WriteEndObject();
    }

    /// <summary>Writes a merge operation.</summary>
    public static void Write(CanonicalJsonWriter json, MergeOp merge)
    {
        json.WriteStartObject();
        List(json, "inputs", merge.Inputs, static (json, input) => Input(json, input.Input));
        json.WriteEndObject();
    }

    /// <summary>Writes a diff operation.</summary>
    public static void Write(CanonicalJsonWriter json, DiffOp diff)
    {
        json.WriteStartObject();
        Message(json, "lower", diff.Lower, static (json, lower) => Input(json, lower.Input));
        Message(json, "upper", diff.Upper, static (json, upper) => Input(json, upper.Input));
        json.WriteEndObject();
    }

    /// <summary>Writes a definition.</summary>
    public static void Write(CanonicalJsonWriter json, Definition definition)
    {
        json.WriteStartObject();
        List(json, "def", definition.Def, static (json, bytes) => json.WriteBase64(bytes.Span));
        Map(json, "metadata", definition.Metadata, Write);
        Message(json, "Source", definition.Source, Write);
        json.WriteEndObject();
    }

    /// <summary>Writes an operation's metadata.</summary>
    public static void Write(CanonicalJsonWriter json, OpMetadata metadata)
    {
        json.WriteStartObject();
        json.WriteTrue("ignore_cache", metadata.IgnoreCache);
        json.WriteMap("description", metadata.Description);
        Message(json, "export_cache", metadata.ExportCache, static (json, export) =>
        {
            json.WriteStartObject();
            json.WriteTrue("Value", export.Value);
            json.WriteEndObject();
        });
        Map(json, "caps", metadata.Caps, static (json, required) => json.WriteBoolean(required));
        Message(json, "progress_group", metadata.ProgressGroup, static (json, group) =>
        {
            json.WriteStartObject();
            json.WriteText("id", group.Id);
            json.WriteText("name", group.Name);
            json.WriteTrue("weak", group.Weak);
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    /// <summary>Writes source files and locations.</summary>
    public static void Write(CanonicalJsonWriter json, Source source)
    {
        json.WriteStartObject();
        Map(json, "locations", source.Locations, Write);
        List(json, "infos", source.Infos, Write);
        json.WriteEndObject();
    }

    /// <summary>Writes the places an operation comes from.</summary>
    public static void Write(CanonicalJsonWriter json, Locations locations)
    {
        json.WriteStartObject();
        List(json, "locations", locations.Locations_, Write);
        json.WriteEndObject();
    }

    /// <summary>Writes a source file.</summary>
    public static void Write(CanonicalJsonWriter json, SourceInfo info)
    {
        json.WriteStartObject();
        json.WriteText("filename", info.Filename);
        if (!info.Data.IsEmpty)
        {
            json.WriteName("data");
            json.WriteBase64(info.Data.Span);
        }

        Message(json, "definition", info.Definition, Write);
        json.WriteText("language", info.Language);
        json.WriteEndObject();
    }

    /// <summary>Writes a location in a source file.</summary>
    public static void Write(CanonicalJsonWriter json, Location location)
    {
        json.WriteStartObject();
        json.WriteNonZero("sourceIndex", location.SourceIndex);
        List(json, "ranges", location.Ranges, static (json, range) =>
        {
            json.WriteStartObject();
            Message(json, "start", range.Start, Write);
            Message(json, "end", range.End, Write);
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    private static void Write(CanonicalJsonWriter json, Position position)
    {
        json.WriteStartObject();
        json.WriteNonZero("line", position.Line);
        json.WriteNonZero("character", position.Character);
        json.WriteEndObject();
    }

    private static void Input(CanonicalJsonWriter json, long index)
    {
        json.WriteStartObject();
        json.WriteNonZero("input", index);
        json.WriteEndObject();
    }

    private static void Message<T>(CanonicalJsonWriter json, string name, T? message, Action<CanonicalJsonWriter, T> write)
        where T : class
    {
        if (message is null)
            return;
        json.WriteName(name);
        write(json, message);
    }

    private static void List<T>(CanonicalJsonWriter json, string name, RepeatedField<T> items, Action<CanonicalJsonWriter, T> write)
    {
        if (items.Count == 0)
            return;
        json.WriteName(name);
        json.WriteStartArray();
        foreach (var item in items)
            write(json, item);
        json.WriteEndArray();
    }

    private static void Map<T>(CanonicalJsonWriter json, string name, MapField<string, T> map, Action<CanonicalJsonWriter, T> write)
    {
        if (map.Count == 0)
            return;
        json.WriteName(name);
        json.WriteStartObject();
        foreach (var (key, value) in map.OrderBy(entry => entry.Key, ByteOrder.Instance))
        {
            json.WriteName(key);
            write(json, value);
        }

        json.WriteEndObject();
    }
}
