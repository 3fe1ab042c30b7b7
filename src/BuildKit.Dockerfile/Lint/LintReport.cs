using System.Text;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Lint;

/// <summary>All violations of a Dockerfile, and the error that ended the check (spec 05 §10).</summary>
internal sealed class LintReport(IReadOnlyList<LintWarning> warnings, DockerfileSource dockerfile, Exception? error)
{
    /// <summary>1 when there is anything to tell, else 0.</summary>
    public int Status => warnings.Count > 0 || error is not null ? 1 : 0;

    public byte[] ToJson()
    {
        var json = new CanonicalJsonWriter(indented: true);
        json.WriteStartObject();
        json.WriteName("warnings");
        if (warnings.Count == 0)
            json.WriteNull();
        else
            WriteWarnings(json);
        json.WriteName("sources");
        json.WriteStartArray();
        ReportJson.WriteInfo(json, dockerfile.Info);
        json.WriteEndArray();
        if (error is not null)
        {
            json.WriteName("buildError");
            json.WriteStartObject();
            json.WriteName("message");
            json.WriteString(error.Message);
            json.WriteName("location");
            ReportJson.WriteLocation(json, Merge((error as DockerfileException)?.Locations ?? []));
            json.WriteEndObject();
        }
        json.WriteEndObject();
        return json.ToArray();
    }

    public byte[] ToText()
    {
        var text = new StringBuilder();
        foreach (var warning in warnings.OrderBy(static w => w.Location is [var first, ..] ? first.StartLine : 0))
        {
            text.Append("\nWARNING: ").Append(warning.Rule.Name);
            if (warning.Rule.Url.Length > 0)
                text.Append(" - ").Append(warning.Rule.Url);
            text.Append('\n').Append(warning.Message).Append('\n');
            SourceExcerpt.WriteTo(text, dockerfile.Map.Filename, dockerfile.Content, warning.Location);
        }
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private void WriteWarnings(CanonicalJsonWriter json)
    {
        json.WriteStartArray();
        foreach (var warning in warnings)
        {
            json.WriteStartObject();
            json.WriteName("ruleName");
            json.WriteString(warning.Rule.Name);
            ReportJson.WriteText(json, "description", warning.Rule.Description);
            ReportJson.WriteText(json, "url", warning.Rule.Url);
            ReportJson.WriteText(json, "detail", warning.Message);
            json.WriteName("location");
            ReportJson.WriteLocation(json, warning.Location);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    /// <summary>Ranges in order, overlapping ones joined.</summary>
    private static List<SourceRange> Merge(IEnumerable<IReadOnlyList<SourceRange>> locations)
    {
        var merged = new List<SourceRange>();
        foreach (var range in locations.SelectMany(static l => l).OrderBy(static r => r.StartLine))
        {
            if (merged.Count > 0 && range.StartLine <= merged[^1].EndLine)
                merged[^1] = merged[^1] with { EndLine = Math.Max(merged[^1].EndLine, range.EndLine) };
            else
                merged.Add(range);
        }
        return merged;
    }
}
