using BuildKit.Oci;
using BuildKit.RemoteCache.Tools;

namespace BuildKit.Cli.Commands.Cache;

/// <summary>Caches as programs read them.</summary>
internal static class CacheJson
{
    /// <summary>One JSON object and a line feed. Sizes in bytes; records are named by their number.</summary>
    public static string Of(CacheLocation location, CacheInventory inventory)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        Text("cache", location.ToString());
        Number("size", inventory.Size);
        json.WriteName("records");
        json.WriteStartArray();
        foreach (var record in inventory.Records)
        {
            json.WriteStartObject();
            Number("index", record.Index);
            Text("digest", record.Record.Digest.ToString());
            json.WriteName("inputs");
            json.WriteStartArray();
            foreach (var links in record.Record.Inputs)
            {
                json.WriteStartArray();
                foreach (var link in links)
                {
                    json.WriteStartObject();
                    if (link.Selector.Length > 0)
                        Text("selector", link.Selector);
                    Number("record", link.Link);
                    json.WriteEndObject();
                }
                json.WriteEndArray();
            }
            json.WriteEndArray();
            if (record.Chain.Count > 0)
            {
                json.WriteName("layers");
                json.WriteStartArray();
                foreach (var layer in record.Chain)
                    json.WriteString(layer.ToString());
                json.WriteEndArray();
                Number("size", inventory.SizeOf(record));
                Text("createdAt", record.CreatedAt.ToString()!);
            }
            if (record.Record.UsedAt is { } usedAt)
                Text("usedAt", usedAt.ToString());
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteName("layers");
        json.WriteStartArray();
        foreach (var layer in inventory.Layers)
        {
            var (descriptor, usedBy) = layer;
            json.WriteStartObject();
            Text("digest", descriptor.Digest.ToString());
            Text("mediaType", descriptor.MediaType);
            Number("size", descriptor.Size);
            if (descriptor.Annotations.TryGetValue("containerd.io/uncompressed", out var diffId))
                Text("diffId", diffId);
            json.WriteName("usedBy");
            json.WriteStartArray();
            foreach (var index in usedBy)
                json.WriteNumber(index);
            json.WriteEndArray();
            if (layer.Mounts.Count > 0)
            {
                json.WriteName("mounts");
                json.WriteStartArray();
                foreach (var id in layer.Mounts)
                    json.WriteString(id);
                json.WriteEndArray();
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
        return System.Text.Encoding.UTF8.GetString(json.ToArray()) + "\n";

        void Text(string name, string value)
        {
            json.WriteName(name);
            json.WriteString(value);
        }

        void Number(string name, long value)
        {
            json.WriteName(name);
            json.WriteNumber(value);
        }
    }
}
