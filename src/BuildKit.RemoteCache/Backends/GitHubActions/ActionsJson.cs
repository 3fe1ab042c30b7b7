using System.Text;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>The small JSON objects of the cache service: names match without case, the last of equal names counts.</summary>
internal sealed class ActionsJson
{
    private readonly Dictionary<string, JsonElement> _members = new(StringComparer.OrdinalIgnoreCase);

    private ActionsJson(JsonElement root)
    {
        foreach (var (name, value) in Members(root))
            _members[name] = value;
    }

    /// <summary>Reads an answer.</summary>
    /// <exception cref="TransferException">It is no JSON object.</exception>
    public static ActionsJson Parse(ReadOnlySpan<byte> body) =>
        TryParse(body) ?? throw new TransferException($"failed to unmarshal {Shown(body)}");

    /// <summary>Reads an object, or null when it is none.</summary>
    public static ActionsJson? TryParse(ReadOnlySpan<byte> body)
    {
        try
        {
            var reader = new Utf8JsonReader(body);
            return new ActionsJson(JsonElement.ParseValue(ref reader));
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            return null;
        }
    }

    /// <summary>A text, or empty when it is not there or is something else.</summary>
    public string Text(string name) =>
        _members.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    /// <summary>A number, or 0 when it is not there or is something else.</summary>
    public long Number(string name) =>
        _members.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number) ? number : 0;

    /// <summary>Whether a truth value is there and true.</summary>
    public bool IsTrue(string name) => _members.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.True;

    /// <summary>The objects of a list.</summary>
    public IEnumerable<ActionsJson> Objects(string name) =>
        _members.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.Array
            ? value.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.Object).Select(item => new ActionsJson(item))
            : [];

    /// <summary>A request body, its members in the order they are written.</summary>
    public static StoreBody Write(Action<CanonicalJsonWriter> members)
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartObject();
        members(writer);
        writer.WriteEndObject();
        return StoreBody.Of(writer.ToArray());
    }

    /// <summary>The members of an object.</summary>
    /// <exception cref="FormatException">It is none.</exception>
    public static IEnumerable<(string Name, JsonElement Value)> Members(JsonElement element) => element.ValueKind == JsonValueKind.Object
        ? element.EnumerateObject().Select(property => (property.Name, property.Value))
        : throw new FormatException($"found {element.ValueKind}, expected an object");

    /// <summary>The beginning of a body, for errors.</summary>
    public static string Shown(ReadOnlySpan<byte> body) => Encoding.UTF8.GetString(body[..Math.Min(body.Length, 1024)]).Trim();
}
