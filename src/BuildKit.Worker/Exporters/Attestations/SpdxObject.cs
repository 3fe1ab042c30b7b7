using System.Text.Json;
using BuildKit.Oci;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>An object of an SPDX document. Keys match without regard to case, the last of equal ones counts, null is as
/// good as nothing.</summary>
internal readonly struct SpdxObject
{
    private readonly JsonElement _element;

    /// <summary>Wraps a value.</summary>
    /// <exception cref="FormatException">It is no object.</exception>
    public SpdxObject(JsonElement element) =>
        _element = element.ValueKind == JsonValueKind.Object ? element : throw new FormatException($"expected an object, found {element.ValueKind}");

    /// <summary>Whether a member is there.</summary>
    public bool Has(string name) => Find(name).ValueKind != JsonValueKind.Undefined;

    /// <summary>A text; empty when it is not there.</summary>
    /// <exception cref="FormatException">It is none; so do the others.</exception>
    public string Text(string name) => Text(Find(name), name);

    /// <summary>A list of texts.</summary>
    public IEnumerable<string> Texts(string name) => Items(name).Select(item => Text(item, name));

    /// <summary>A number; 0 when it is not there.</summary>
    public long Number(string name)
    {
        var element = Find(name);
        if (element.ValueKind == JsonValueKind.Undefined)
            return 0;
        return element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out var number) ? number : throw Mismatch(name, element);
    }

    /// <summary>A truth value.</summary>
    public bool Boolean(string name, bool missing)
    {
        var element = Find(name);
        return element.ValueKind switch
        {
            JsonValueKind.Undefined => missing,
            JsonValueKind.True or JsonValueKind.False => element.GetBoolean(),
            _ => throw Mismatch(name, element),
        };
    }

    /// <summary>An object; one without members when it is not there.</summary>
    public SpdxObject Object(string name)
    {
        var element = Find(name);
        return element.ValueKind == JsonValueKind.Undefined ? default : new SpdxObject(element);
    }

    /// <summary>A list of objects.</summary>
    public IEnumerable<SpdxObject> Objects(string name) => Items(name).Select(item => new SpdxObject(item));

    private IEnumerable<JsonElement> Items(string name)
    {
        var element = Find(name);
        return element.ValueKind switch
        {
            JsonValueKind.Undefined => [],
            JsonValueKind.Array => element.EnumerateArray(),
            _ => throw Mismatch(name, element),
        };
    }

    private JsonElement Find(string name)
    {
        var found = default(JsonElement);
        if (_element.ValueKind != JsonValueKind.Object)
            return found;
        foreach (var property in _element.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.Null && string.Equals(property.Name, name, StringComparison.OrdinalIgnoreCase))
                found = property.Value;
        }
        return found;
    }

    private static string Text(JsonElement element, string name) => element.ValueKind switch
    {
        JsonValueKind.Undefined => "",
        JsonValueKind.String => element.GetString()!,
        _ => throw Mismatch(name, element),
    };

    private static FormatException Mismatch(string name, JsonElement element) => new($"invalid value of {GoSyntax.Quote(name)}: {element.ValueKind}");
}

/// <summary>Names inside SPDX documents.</summary>
internal static class SpdxId
{
    private const string ElementPrefix = "SPDXRef-";
    private const string DocumentPrefix = "DocumentRef-";

    /// <summary>The id of an element, with its prefix.</summary>
    /// <exception cref="FormatException">It has none.</exception>
    public static string Element(string id)
    {
        if (id.Length == 0)
            return ElementPrefix;
        var at = id.IndexOf(ElementPrefix, StringComparison.Ordinal);
        if (at < 0)
            throw new FormatException($"failed to parse SPDX identifier '{id}'");
        var name = id[(at + ElementPrefix.Length)..];
        return name.StartsWith(ElementPrefix, StringComparison.Ordinal) ? name : ElementPrefix + name;
    }

    /// <summary>The id of an element, maybe of another document, or <c>NONE</c> or <c>NOASSERTION</c>.</summary>
    /// <exception cref="FormatException">It is none of them.</exception>
    public static string Reference(string id)
    {
        if (id is "NONE" or "NOASSERTION")
            return id;
        if (!id.StartsWith(DocumentPrefix, StringComparison.Ordinal))
            return Element(id) is { Length: > 8 } element ? element : throw new FormatException("empty SPDX identifier");
        var colon = id.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? throw new FormatException($"failed to parse SPDX identifier '{id}'") : id[..(colon + 1)] + Element(id[(colon + 1)..]);
    }

    /// <summary>Somebody or something that acts: <c>Tool: name</c>.</summary>
    /// <exception cref="FormatException">There is no type or no name.</exception>
    public static string Agent(string agent)
    {
        var at = agent.IndexOf(": ", StringComparison.Ordinal);
        return at >= 0 && at + 2 < agent.Length ? agent : throw new FormatException($"failed to parse agent '{agent}'");
    }

    /// <summary>As <see cref="Agent"/>, or nothing, or <c>NOASSERTION</c>.</summary>
    /// <exception cref="FormatException">It is none of them.</exception>
    public static string Supplier(string agent) => agent is "" or "NOASSERTION" ? agent : Agent(agent);

    /// <summary>As <see cref="Supplier"/>; a blank after the type is not needed.</summary>
    /// <exception cref="FormatException">It is none of them.</exception>
    public static string Originator(string agent)
    {
        if (agent is "" or "NOASSERTION")
            return agent;
        var colon = agent.IndexOf(':', StringComparison.Ordinal);
        var name = agent[(colon + 1)..].TrimStart(' ', '\t');
        return colon >= 0 && name.Length > 0 ? $"{agent[..colon]}: {name}" : throw new FormatException($"failed to parse agent '{agent}'");
    }
}

/// <summary>A relationship between two elements.</summary>
internal sealed record SpdxRelationship(string From, string To, string Type, string Comment)
{
    /// <summary>Those of a document, and those that older forms write elsewhere: what the document describes and what files
    /// packages have. One that is written both ways is listed once.</summary>
    /// <exception cref="FormatException">An id is none.</exception>
    public static List<SpdxRelationship> All(SpdxObject root)
    {
        var all = root.Objects("relationships").Select(item => new SpdxRelationship(
            SpdxId.Reference(item.Text("spdxElementId")), SpdxId.Reference(item.Text("relatedSpdxElement")), item.Text("relationshipType"), item.Text("comment"))).ToList();
        var known = all.Select(relationship => relationship.Meaning).ToHashSet();
        var implied = root.Texts("documentDescribes").Select(id => new SpdxRelationship(SpdxId.Element(root.Text("SPDXID")), SpdxId.Reference(id), "DESCRIBES", ""))
            .Concat(root.Objects("packages").SelectMany(package => package.Texts("hasFiles")
                .Select(id => new SpdxRelationship(SpdxId.Element(package.Text("SPDXID")), SpdxId.Reference(id), "CONTAINS", ""))));
        foreach (var relationship in implied)
        {
            if (known.Add(relationship.Meaning))
                all.Add(relationship);
        }
        return all;
    }

    /// <summary>The same for both ways to say it.</summary>
    private (string, string, string) Meaning => Type switch
    {
        "CONTAINED_BY" => (To, From, "CONTAINS"),
        "DESCRIBED_BY" => (To, From, "DESCRIBES"),
        _ => (From, To, Type),
    };
}
