using System.Text;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Outline;

/// <summary>The stages of a Dockerfile as they are written (spec 05 §10).</summary>
internal sealed class TargetsReport(IReadOnlyList<StageDefinition> stages, byte[] dockerfile)
{
    public byte[] ToJson()
    {
        var json = new CanonicalJsonWriter(indented: true);
        json.WriteStartObject();
        json.WriteName("targets");
        json.WriteStartArray();
        foreach (var from in stages.Select(static s => s.From))
        {
            json.WriteStartObject();
            ReportJson.WriteText(json, "name", from.StageName);
            json.WriteTrue("default", ReferenceEquals(from, stages[^1].From));
            ReportJson.WriteText(json, "description", from.Description);
            ReportJson.WriteText(json, "base", from.BaseName);
            ReportJson.WriteText(json, "platform", from.Platform);
            ReportJson.WriteOptionalLocation(json, from.Location);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        ReportJson.WriteSources(json, dockerfile);
        json.WriteEndObject();
        return json.ToArray();
    }

    public byte[] ToText()
    {
        var table = new TextTable(1).Row("TARGET", "DESCRIPTION");
        foreach (var from in stages.Select(static s => s.From))
        {
            var isDefault = ReferenceEquals(from, stages[^1].From);
            table.Row(!isDefault ? from.StageName : from.StageName.Length == 0 ? "(default)" : from.StageName + " (default)", from.Description);
        }
        var text = new StringBuilder();
        table.WriteTo(text);
        return Encoding.UTF8.GetBytes(text.ToString());
    }
}
