using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Protocol.SourcePolicy;
using MatchType = BuildKit.Protocol.SourcePolicy.MatchType;

namespace BuildKit.Llb;

/// <summary>Source policies as JSON files (spec 02 §13.1). Keys match without regard to case; unknown ones are ignored.</summary>
public static class SourcePolicyJson
{
    /// <summary>Reads a policy.</summary>
    /// <exception cref="LlbException">The JSON is broken or holds a value that is none.</exception>
    public static Policy Parse(ReadOnlySpan<byte> json)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            using var document = JsonDocument.ParseValue(ref reader);
            while (reader.Read())
                throw new LlbException("invalid character after top-level value");
            return ReadPolicy(document.RootElement);
        }
        catch (JsonException e)
        {
            throw new LlbException(e.Message, e);
        }
    }

    /// <summary>Writes a policy; zero values are left out.</summary>
    public static byte[] Format(Policy policy)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteNonZero("version", policy.Version);
        if (policy.Rules.Count > 0)
        {
            json.WriteName("rules");
            json.WriteStartArray();
            foreach (var rule in policy.Rules)
                Write(json, rule);
            json.WriteEndArray();
        }

        json.WriteEndObject();
        return json.ToArray();
    }

    private static void Write(CanonicalJsonWriter json, Rule rule)
    {
        json.WriteStartObject();
        json.WriteText("action", rule.Action == PolicyAction.Allow ? "" : rule.Action.ToString().ToUpperInvariant());
        if (rule.Selector is { } selector)
        {
            json.WriteName("selector");
            json.WriteStartObject();
            json.WriteText("identifier", selector.Identifier);
            json.WriteText("match_type", selector.MatchType == MatchType.Wildcard ? "" : selector.MatchType.ToString().ToUpperInvariant());
            if (selector.Constraints.Count > 0)
            {
                json.WriteName("constraints");
                json.WriteStartArray();
                foreach (var constraint in selector.Constraints)
                {
                    json.WriteStartObject();
                    json.WriteText("key", constraint.Key);
                    json.WriteText("value", constraint.Value);
                    json.WriteText("condition", constraint.Condition == AttrMatch.Equal ? "" : constraint.Condition.ToString().ToUpperInvariant());
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }

            json.WriteEndObject();
        }

        if (rule.Updates is { } updates)
        {
            json.WriteName("updates");
            json.WriteStartObject();
            json.WriteText("identifier", updates.Identifier);
            json.WriteMap("attrs", updates.Attrs);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static Policy ReadPolicy(JsonElement element)
    {
        var policy = new Policy();
        foreach (var (key, value) in Members(element, "Policy"))
        {
            if (key == "version")
                policy.Version = value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var version) ? version : throw Mismatch(value, "Policy.version", "int64");
            else if (key == "rules")
                policy.Rules.AddRange(Items(value, "Policy.rules").Select(item => item.ValueKind == JsonValueKind.Null ? throw new LlbException("invalid nil rule in policy") : ReadRule(item)));
        }

        return policy;
    }

    private static Rule ReadRule(JsonElement element)
    {
        var rule = new Rule();
        foreach (var (key, value) in Members(element, "Rule"))
        {
            if (key == "action")
                rule.Action = (PolicyAction)Enum(value, ["ALLOW", "DENY", "CONVERT"], "PolicyAction");
            else if (key == "selector")
                rule.Selector = ReadSelector(value);
            else if (key == "updates")
                rule.Updates = ReadUpdate(value);
        }

        return rule;
    }

    private static Selector ReadSelector(JsonElement element)
    {
        var selector = new Selector();
        foreach (var (key, value) in Members(element, "Selector"))
        {
            if (key == "identifier")
                selector.Identifier = Text(value, "Selector.identifier");
            else if (key == "match_type")
                selector.MatchType = (MatchType)Enum(value, ["WILDCARD", "EXACT", "REGEX"], "MatchType");
            else if (key == "constraints")
                selector.Constraints.AddRange(Items(value, "Selector.constraints").Select(item => item.ValueKind == JsonValueKind.Null ? throw new LlbException("invalid nil constraint in policy") : ReadConstraint(item)));
        }

        return selector;
    }

    private static AttrConstraint ReadConstraint(JsonElement element)
    {
        var constraint = new AttrConstraint();
        foreach (var (key, value) in Members(element, "AttrConstraint"))
        {
            if (key == "key")
                constraint.Key = Text(value, "AttrConstraint.key");
            else if (key == "value")
                constraint.Value = Text(value, "AttrConstraint.value");
            else if (key == "condition")
                constraint.Condition = (AttrMatch)Enum(value, ["EQUAL", "NOTEQUAL", "MATCHES"], "AttrMatch");
        }

        return constraint;
    }

    private static Update ReadUpdate(JsonElement element)
    {
        var update = new Update();
        foreach (var (key, value) in Members(element, "Update"))
        {
            if (key == "identifier")
                update.Identifier = Text(value, "Update.identifier");
            else if (key == "attrs" && value.ValueKind == JsonValueKind.Object)
            {
                foreach (var attribute in value.EnumerateObject())
                    update.Attrs[attribute.Name] = Text(attribute.Value, "Update.attrs");
            }
            else if (key == "attrs")
                throw Mismatch(value, "Update.attrs", "map[string]string");
        }

        return update;
    }

    private static int Enum(JsonElement value, string[] names, string type)
    {
        if (value.ValueKind == JsonValueKind.String)
        {
            var index = Array.IndexOf(names, value.GetString());
            return index >= 0 ? index : throw new LlbException($"unrecognized enum {names[0]} value {GoSyntax.Quote(value.GetString()!)}");
        }

        if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt32(out var number))
            throw Mismatch(value, type, "int32");
        return number >= 0 && number < names.Length ? number : throw new LlbException($"invalid {type} value: {number}");
    }

    private static IEnumerable<(string Key, JsonElement Value)> Members(JsonElement element, string type) =>
        element.ValueKind == JsonValueKind.Object
            ? element.EnumerateObject().Where(member => member.Value.ValueKind != JsonValueKind.Null).Select(member => (member.Name.ToLowerInvariant(), member.Value))
            : throw Mismatch(element, type, type);

    private static IEnumerable<JsonElement> Items(JsonElement element, string field) =>
        element.ValueKind == JsonValueKind.Array ? element.EnumerateArray() : throw Mismatch(element, field, "array");

    private static string Text(JsonElement element, string field) => element.ValueKind switch
    {
        JsonValueKind.String => element.GetString()!,
        JsonValueKind.Null => "",
        _ => throw Mismatch(element, field, "string"),
    };

    private static LlbException Mismatch(JsonElement element, string field, string expected) =>
        new($"json: cannot unmarshal {element.ValueKind.ToString().ToLowerInvariant()} into Go value {field} of type {expected}");
}
