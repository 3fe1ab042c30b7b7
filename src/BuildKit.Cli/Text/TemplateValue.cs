using System.Globalization;
using System.Text;
using BuildKit.Oci;

namespace BuildKit.Cli.Text;

/// <summary>A value a <c>--format</c> template walks through: text, number, truth, nothing, list or record.</summary>
internal abstract record TemplateValue
{
    /// <summary>A text.</summary>
    public static TemplateValue Of(string text) => new Scalar(text, static (json, value) => json.WriteString(value), text);

    /// <summary>A number.</summary>
    public static TemplateValue Of(long number) =>
        new Scalar(number.ToString(CultureInfo.InvariantCulture), static (json, value) => json.WriteNumber(long.Parse(value, CultureInfo.InvariantCulture)), number.ToString(CultureInfo.InvariantCulture)) { IsZero = number == 0 };

    /// <summary>A truth.</summary>
    public static TemplateValue Of(bool truth) =>
        new Scalar(truth ? "true" : "false", static (json, value) => json.WriteBoolean(value == "true"), truth ? "true" : "false") { IsZero = !truth };

    /// <summary>A text whose printed form differs from its JSON form, such as a time.</summary>
    public static TemplateValue Of(string json, string printed) => new Scalar(json, static (writer, value) => writer.WriteString(value), printed);

    /// <summary>Nothing.</summary>
    public static TemplateValue Nothing { get; } = new Scalar("", static (json, _) => json.WriteNull(), "<nil>") { IsZero = true };

    /// <summary>Texts; nothing when there are none.</summary>
    public static TemplateValue Of(IReadOnlyCollection<string> texts) => new Sequence([.. texts.Select(Of)]) { IsNullWhenEmpty = true };

    /// <summary>Whether <c>if</c> takes it for false.</summary>
    public abstract bool IsFalse { get; }

    /// <summary>The printed form.</summary>
    public abstract string Print();

    /// <summary>Writes the JSON form.</summary>
    public abstract void Write(CanonicalJsonWriter json);

    /// <summary>The JSON form; markup characters stay as they are (spec 08, trap 36).</summary>
    public string ToJson()
    {
        var json = new CanonicalJsonWriter();
        Write(json);
        return Encoding.UTF8.GetString(json.WrittenSpan)
            .Replace("\\u003c", "<", StringComparison.Ordinal)
            .Replace("\\u003e", ">", StringComparison.Ordinal)
            .Replace("\\u0026", "&", StringComparison.Ordinal);
    }

    /// <summary>A single value.</summary>
    internal sealed record Scalar(string Value, Action<CanonicalJsonWriter, string> WriteValue, string Printed) : TemplateValue
    {
        public bool IsZero { get; init; } = Printed.Length == 0;

        public override bool IsFalse => IsZero;

        public override string Print() => Printed;

        public override void Write(CanonicalJsonWriter json) => WriteValue(json, Value);
    }

    /// <summary>A list.</summary>
    internal sealed record Sequence(IReadOnlyList<TemplateValue> Items) : TemplateValue
    {
        public bool IsNullWhenEmpty { get; init; }

        public override bool IsFalse => Items.Count == 0;

        public override string Print() => $"[{string.Join(' ', Items.Select(static item => item.Print()))}]";

        public override void Write(CanonicalJsonWriter json)
        {
            if (Items.Count == 0 && IsNullWhenEmpty)
            {
                json.WriteNull();
                return;
            }
            json.WriteStartArray();
            foreach (var item in Items)
                item.Write(json);
            json.WriteEndArray();
        }
    }

    /// <summary>A record, or a map: templates know members by field name, JSON by its own name.</summary>
    internal sealed record Members(IReadOnlyList<(string Field, string Json, TemplateValue Value)> Fields) : TemplateValue
    {
        /// <summary>Whether it prints as a map.</summary>
        public bool IsMap { get; init; }

        public override bool IsFalse => IsMap && Fields.Count == 0;

        public override string Print() => IsMap
            ? $"map[{string.Join(' ', Fields.Select(static field => $"{field.Field}:{field.Value.Print()}"))}]"
            : $"{{{string.Join(' ', Fields.Select(static field => field.Value.Print()))}}}";

        public override void Write(CanonicalJsonWriter json)
        {
            if (IsMap && Fields.Count == 0)
            {
                json.WriteNull();
                return;
            }
            json.WriteStartObject();
            foreach (var (_, name, value) in Fields)
            {
                if (name.Length == 0)
                    continue;
                json.WriteName(name);
                value.Write(json);
            }
            json.WriteEndObject();
        }

        /// <summary>A map of texts.</summary>
        public static Members Map(IEnumerable<KeyValuePair<string, string>> pairs) =>
            new([.. pairs.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => (pair.Key, pair.Key, Of(pair.Value)))]) { IsMap = true };
    }
}
