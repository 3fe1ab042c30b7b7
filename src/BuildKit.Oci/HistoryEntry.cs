using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>One step in an image's history. Equal when all parts, the time's offset included, are equal.</summary>
public sealed record HistoryEntry
{
    /// <summary>When the step was done, if known.</summary>
    public Rfc3339Time? Created { get; init; }

    /// <summary>The command; empty when not given.</summary>
    public string CreatedBy { get; init; } = "";

    /// <summary>Author; empty when not given.</summary>
    public string Author { get; init; } = "";

    /// <summary>Comment; empty when not given.</summary>
    public string Comment { get; init; } = "";

    /// <summary>Whether the step made no layer.</summary>
    public bool EmptyLayer { get; init; }

    internal static HistoryEntry Read(JsonElement element)
    {
        var entry = new HistoryEntry();
        foreach (var property in JsonReading.Object(element, "history"))
        {
            if (property.Is("created"))
                entry = entry with { Created = property.Time() };
            else if (property.Is("created_by"))
                entry = entry with { CreatedBy = property.Text() };
            else if (property.Is("author"))
                entry = entry with { Author = property.Text() };
            else if (property.Is("comment"))
                entry = entry with { Comment = property.Text() };
            else if (property.Is("empty_layer"))
                entry = entry with { EmptyLayer = property.Boolean() };
        }
        return entry;
    }

    internal static void WriteAll(CanonicalJsonWriter writer, IReadOnlyList<HistoryEntry> history)
    {
        writer.WriteName("history");
        WriteArray(writer, history);
    }

    internal static void WriteArray(CanonicalJsonWriter writer, IReadOnlyList<HistoryEntry> history)
    {
        writer.WriteStartArray();
        foreach (var entry in history)
        {
            writer.WriteStartObject();
            if (entry.Created is { } created)
            {
                writer.WriteName("created");
                writer.WriteString(created.ToString());
            }
            writer.WriteText("created_by", entry.CreatedBy);
            writer.WriteText("author", entry.Author);
            writer.WriteText("comment", entry.Comment);
            writer.WriteTrue("empty_layer", entry.EmptyLayer);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }
}
