using System.Globalization;
using System.Text;
using System.Text.Json;

namespace BuildKit.Protocol.Wire;

/// <summary>How 64-bit numbers and enums read in JSON.</summary>
internal enum JsonStyle
{
    /// <summary>Protobuf JSON: int64 as strings, enums by name (spec 01 §3.4, Solve).</summary>
    Protobuf,

    /// <summary>Go structs: everything as numbers (spec 01 §3.4, all other details).</summary>
    GoStruct,
}

/// <summary>Transcodes serialized messages to and from JSON by their <see cref="WireMessage"/>.</summary>
internal static class WireJson
{
    /// <summary>Writes a message; default values are left out.</summary>
    public static void Write(Utf8JsonWriter json, ReadOnlyMemory<byte> message, WireMessage type, JsonStyle style)
    {
        json.WriteStartObject();
        var values = WireFields.Split(message);
        foreach (var field in type.Fields)
        {
            var own = values.Where(v => v.Number == field.Number).ToList();
            if (own.Count == 0)
                continue;
            if (field.Map)
                WriteMap(json, own, field, style);
            else if (field.Repeated)
                WriteList(json, own, field, style);
            else if (field.Oneof || field.Kind == WireKind.Message || !IsDefault(own[^1]))
            {
                json.WritePropertyName(Name(field, style));
                WriteValue(json, own[^1].Varint, own[^1].Payload, field, style);
            }
        }

        json.WriteEndObject();
    }

    /// <summary>Reads a message. In <see cref="JsonStyle.Protobuf"/> an unknown key is an error, otherwise keys
    /// match without regard to case and unknown ones are skipped (spec 01 §3.3).</summary>
    /// <exception cref="JsonException">The JSON does not have the message's shape.</exception>
    public static byte[] Read(JsonElement json, WireMessage type, JsonStyle style)
    {
        if (json.ValueKind != JsonValueKind.Object)
            throw new JsonException($"expected an object, found {json.ValueKind}");
        var output = new MemoryStream();
        foreach (var property in json.EnumerateObject())
        {
            var field = Find(type, property.Name, style);
            if (field is null)
            {
                if (style == JsonStyle.Protobuf)
                    throw new JsonException($"unknown field \"{property.Name}\"");
                continue;
            }

            if (property.Value.ValueKind == JsonValueKind.Null)
                continue;
            if (field.Map)
                ReadMap(property.Value, field, style, output);
            else if (field.Repeated)
                foreach (var item in property.Value.EnumerateArray())
                    ReadValue(item, field, field.Number, style, output);
            else
                ReadValue(property.Value, field, field.Number, style, output);
        }

        return output.ToArray();
    }

    private static string Name(WireField field, JsonStyle style) =>
        style == JsonStyle.Protobuf ? field.Name : GoName(field.Name);

    // The only fields of the Go-struct details whose generated Go tags keep underscores.
    private static string GoName(string name) => name switch
    {
        "ignoreCache" => "ignore_cache",
        "exportCache" => "export_cache",
        "progressGroup" => "progress_group",
        _ => name,
    };

    private static WireField? Find(WireMessage type, string name, JsonStyle style)
    {
        foreach (var field in type.Fields)
            if (string.Equals(
                    Name(field, style), name, style == JsonStyle.Protobuf ? StringComparison.Ordinal : StringComparison.OrdinalIgnoreCase))
                return field;
        return null;
    }

    private static bool IsDefault(WireValue value) => value.Delimited ? value.Payload.IsEmpty : value.Varint == 0;

    private static void WriteList(Utf8JsonWriter json, List<WireValue> values, WireField field, JsonStyle style)
    {
        json.WriteStartArray(Name(field, style));
        foreach (var value in values)
        {
            if (!value.Delimited || field.Kind is WireKind.Message or WireKind.String or WireKind.Bytes)
                WriteValue(json, value.Varint, value.Payload, field, style);
            else
                for (var position = 0; position < value.Payload.Length;)
                    WriteValue(json, WireFields.ReadVarint(value.Payload.Span, ref position), default, field, style);
        }

        json.WriteEndArray();
    }

    private static void WriteMap(Utf8JsonWriter json, List<WireValue> values, WireField field, JsonStyle style)
    {
        json.WriteStartObject(Name(field, style));
        var entries = new List<(byte[] Key, WireValue Value)>();
        foreach (var entry in values)
        {
            var parts = WireFields.Split(entry.Payload);
            entries.Add((parts.LastOrDefault(p => p.Number == 1).Payload.ToArray(), parts.LastOrDefault(p => p.Number == 2)));
        }

        entries.Sort(static (a, b) => a.Key.AsSpan().SequenceCompareTo(b.Key));
        foreach (var (key, value) in entries)
        {
            json.WritePropertyName(Encoding.UTF8.GetString(key));
            WriteValue(json, value.Varint, value.Payload, field, style);
        }

        json.WriteEndObject();
    }

    private static void WriteValue(
        Utf8JsonWriter json, ulong number, ReadOnlyMemory<byte> payload, WireField field, JsonStyle style)
    {
        switch (field.Kind)
        {
            case WireKind.Bool:
                json.WriteBooleanValue(number != 0);
                break;
            case WireKind.Int32:
                json.WriteNumberValue((int)number);
                break;
            case WireKind.UInt32:
                json.WriteNumberValue((uint)number);
                break;
            case WireKind.Int64 when style == JsonStyle.Protobuf:
                json.WriteStringValue(((long)number).ToString(CultureInfo.InvariantCulture));
                break;
            case WireKind.Int64:
                json.WriteNumberValue((long)number);
                break;
            case WireKind.Enum when style == JsonStyle.Protobuf && number < (ulong)field.Values!.Length:
                json.WriteStringValue(field.Values[number]);
                break;
            case WireKind.Enum:
                json.WriteNumberValue((int)number);
                break;
            case WireKind.String:
                json.WriteStringValue(Encoding.UTF8.GetString(payload.Span));
                break;
            case WireKind.Bytes:
                // Not WriteBase64StringValue: it would escape the plus sign.
                json.WriteStringValue(Convert.ToBase64String(payload.Span));
                break;
            default:
                Write(json, payload, field.Type!(), style);
                break;
        }
    }

    private static void ReadMap(JsonElement json, WireField field, JsonStyle style, MemoryStream output)
    {
        foreach (var property in json.EnumerateObject())
        {
            var entry = new MemoryStream();
            WireFields.WriteDelimitedField(entry, 1, Encoding.UTF8.GetBytes(property.Name));
            ReadValue(property.Value, field, 2, style, entry);
            WireFields.WriteDelimitedField(output, field.Number, entry.ToArray());
        }
    }

    private static void ReadValue(JsonElement json, WireField field, int number, JsonStyle style, MemoryStream output)
    {
        try
        {
            switch (field.Kind)
            {
                case WireKind.Bool:
                    WireFields.WriteVarintField(output, number, json.GetBoolean() ? 1u : 0u);
                    break;
                case WireKind.Enum when json.ValueKind == JsonValueKind.String:
                    var index = Array.IndexOf(field.Values!, json.GetString());
                    if (index < 0)
                        throw new JsonException($"unknown value \"{json.GetString()}\" of {field.Name}");
                    WireFields.WriteVarintField(output, number, (ulong)index);
                    break;
                case WireKind.Int32 or WireKind.Int64 or WireKind.UInt32 or WireKind.Enum:
                    var value = json.ValueKind == JsonValueKind.String
                        ? long.Parse(json.GetString()!, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture)
                        : json.GetInt64();
                    WireFields.WriteVarintField(output, number, (ulong)value);
                    break;
                case WireKind.String:
                    WireFields.WriteDelimitedField(output, number, Encoding.UTF8.GetBytes(json.GetString() ?? ""));
                    break;
                case WireKind.Bytes:
                    WireFields.WriteDelimitedField(output, number, json.GetBytesFromBase64());
                    break;
                default:
                    WireFields.WriteDelimitedField(output, number, Read(json, field.Type!(), style));
                    break;
            }
        }
        catch (Exception e) when (e is FormatException or OverflowException or InvalidOperationException)
        {
            throw new JsonException($"field {field.Name}: {e.Message}", e);
        }
    }
}
