using System.Text;
using BuildKit.Oci;

namespace BuildKit.Client;

/// <summary>The frontend option that repeats the cache imports (spec 04 §9.3).</summary>
internal static class CacheImportsAttribute
{
    public const string Name = "cache-imports";

    /// <summary>The imports as JSON with the member names and the order of the reference.</summary>
    public static string Format(IReadOnlyList<CacheRequest> imports)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartArray();
        foreach (var import in imports)
        {
            json.WriteStartObject();
            if (import.Type.Length > 0)
            {
                json.WriteName("Type");
                json.WriteString(import.Type);
            }
            json.WriteMap("Attrs", import.Attributes);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        return Encoding.UTF8.GetString(json.WrittenSpan);
    }
}
