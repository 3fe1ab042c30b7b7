using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Outline;

/// <summary>Pieces of JSON that all answers share (spec 05 §10). Zero values are left out.</summary>
internal static class ReportJson
{
    public static void WriteText(CanonicalJsonWriter json, string name, string value)
    {
        if (value.Length == 0)
            return;
        json.WriteName(name);
        json.WriteString(value);
    }

    public static void WriteLocation(CanonicalJsonWriter json, IReadOnlyList<SourceRange> ranges)
    {
        json.WriteStartObject();
        if (ranges.Count > 0)
        {
            json.WriteName("ranges");
            json.WriteStartArray();
            foreach (var range in ranges)
            {
                json.WriteStartObject();
                WritePosition(json, "start", range.StartLine, range.StartCharacter);
                WritePosition(json, "end", range.EndLine, range.EndCharacter);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    public static void WriteOptionalLocation(CanonicalJsonWriter json, IReadOnlyList<SourceRange> ranges)
    {
        if (ranges.Count == 0)
            return;
        json.WriteName("location");
        WriteLocation(json, ranges);
    }

    public static void WriteSources(CanonicalJsonWriter json, byte[] dockerfile)
    {
        json.WriteName("sources");
        json.WriteStartArray();
        json.WriteBase64(dockerfile);
        json.WriteEndArray();
    }

    /// <summary>A definition as an object: operations in base 64, metadata, source positions.</summary>
    public static void WriteDefinition(CanonicalJsonWriter json, Definition definition)
    {
        json.WriteStartObject();
        if (definition.Def.Count > 0)
        {
            json.WriteName("def");
            json.WriteStartArray();
            foreach (var op in definition.Def)
                json.WriteBase64(op.Span);
            json.WriteEndArray();
        }
        if (definition.Metadata.Count > 0)
        {
            json.WriteName("metadata");
            json.WriteStartObject();
            foreach (var (digest, metadata) in definition.Metadata.OrderBy(static m => m.Key, ByteOrder.Instance))
            {
                json.WriteName(digest);
                WriteMetadata(json, metadata);
            }
            json.WriteEndObject();
        }
        if (definition.Source is { } source)
        {
            json.WriteName("Source");
            WriteSource(json, source);
        }
        json.WriteEndObject();
    }

    private static void WriteMetadata(CanonicalJsonWriter json, OpMetadata metadata)
    {
        json.WriteStartObject();
        json.WriteTrue("ignore_cache", metadata.IgnoreCache);
        json.WriteMap("description", new Dictionary<string, string>(metadata.Description, StringComparer.Ordinal));
        if (metadata.ExportCache is { } export)
        {
            json.WriteName("export_cache");
            json.WriteStartObject();
            json.WriteTrue("Value", export.Value);
            json.WriteEndObject();
        }
        if (metadata.Caps.Count > 0)
        {
            json.WriteName("caps");
            json.WriteStartObject();
            foreach (var (name, value) in metadata.Caps.OrderBy(static c => c.Key, ByteOrder.Instance))
            {
                json.WriteName(name);
                json.WriteBoolean(value);
            }
            json.WriteEndObject();
        }
        if (metadata.ProgressGroup is { } group)
        {
            json.WriteName("progress_group");
            json.WriteStartObject();
            json.WriteText("id", group.Id);
            json.WriteText("name", group.Name);
            json.WriteTrue("weak", group.Weak);
            json.WriteEndObject();
        }
        json.WriteEndObject();
    }

    private static void WriteSource(CanonicalJsonWriter json, Source source)
    {
        json.WriteStartObject();
        if (source.Locations.Count > 0)
        {
            json.WriteName("locations");
            json.WriteStartObject();
            foreach (var (digest, locations) in source.Locations.OrderBy(static l => l.Key, ByteOrder.Instance))
            {
                json.WriteName(digest);
                WriteLocations(json, locations);
            }
            json.WriteEndObject();
        }
        if (source.Infos.Count > 0)
        {
            json.WriteName("infos");
            json.WriteStartArray();
            foreach (var info in source.Infos)
                WriteInfo(json, info);
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    /// <summary>A file: name, content in base 64, definition, language.</summary>
    public static void WriteInfo(CanonicalJsonWriter json, SourceInfo info)
    {
        json.WriteStartObject();
        WriteText(json, "filename", info.Filename);
        if (!info.Data.IsEmpty)
        {
            json.WriteName("data");
            json.WriteBase64(info.Data.Span);
        }
        if (info.Definition is { } definition)
        {
            json.WriteName("definition");
            WriteDefinition(json, definition);
        }
        WriteText(json, "language", info.Language);
        json.WriteEndObject();
    }

    private static void WriteLocations(CanonicalJsonWriter json, Locations locations)
    {
        json.WriteStartObject();
        if (locations.Locations_.Count > 0)
        {
            json.WriteName("locations");
            json.WriteStartArray();
            foreach (var location in locations.Locations_)
            {
                json.WriteStartObject();
                json.WriteNonZero("sourceIndex", location.SourceIndex);
                json.WriteName("ranges");
                json.WriteStartArray();
                foreach (var range in location.Ranges)
                {
                    json.WriteStartObject();
                    WritePosition(json, "start", range.Start.Line, range.Start.Character);
                    WritePosition(json, "end", range.End.Line, range.End.Character);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    private static void WritePosition(CanonicalJsonWriter json, string name, int line, int character)
    {
        json.WriteName(name);
        json.WriteStartObject();
        json.WriteNonZero("line", line);
        json.WriteNonZero("character", character);
        json.WriteEndObject();
    }
}
