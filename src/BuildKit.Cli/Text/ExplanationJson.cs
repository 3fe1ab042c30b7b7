using BuildKit.Cli.Progress;
using BuildKit.Oci;
using BuildKit.Protocol.Explain;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Cli.Text;

/// <summary>Explanations as one JSON line beside those of <see cref="StatusJson"/>; readers that do not know its member skip it.</summary>
internal static class ExplanationJson
{
    /// <summary>A build as one line, newline included.</summary>
    public static byte[] Line(BuildExplanation explanation, TimeProvider time)
    {
        var sentences = new ExplanationText(time, static _ => null);
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteText("ref", explanation.Ref);
        json.WriteName("explanations");
        json.WriteStartArray();
        foreach (var step in explanation.Steps)
            Write(json, step, sentences.Sentence(step, explanation));
        json.WriteEndArray();
        if (explanation.Imports.Count > 0)
        {
            json.WriteName("imports");
            json.WriteStartArray();
            foreach (var import in explanation.Imports)
            {
                json.WriteStartObject();
                json.WriteText("name", import.Name);
                json.WriteText("problem", import.Problem);
                json.WriteText("error", import.Error);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        WriteTime(json, "rememberedSince", explanation.Since);
        json.WriteEndObject();
        return [.. json.WrittenSpan, (byte)'\n'];
    }

    private static void Write(CanonicalJsonWriter json, StepExplanation step, string sentence)
    {
        json.WriteStartObject();
        json.WriteText("vertex", step.Vertex);
        json.WriteText("name", step.Name);
        json.WriteText("kind", step.Kind);
        WriteTime(json, "started", step.Started);
        json.WriteText("cause", step.Cause);
        json.WriteText("text", sentence);
        json.WriteText("error", step.Error);
        if (step.Earlier is { } earlier)
        {
            json.WriteName("earlier");
            json.WriteStartObject();
            json.WriteText("ref", earlier.Build);
            json.WriteText("name", earlier.Name);
            WriteTime(json, "time", earlier.Time);
            json.WriteText("importedFrom", earlier.ImportedFrom);
            if (earlier.Elsewhere)
            {
                json.WriteName("elsewhere");
                json.WriteBoolean(true);
            }
            json.WriteEndObject();
        }
        Write(json, "differences", step.Differences);
        if (step.Origin is { } origin)
        {
            json.WriteName("origin");
            json.WriteStartObject();
            json.WriteText("vertex", origin.Vertex);
            json.WriteText("name", origin.Name);
            json.WriteText("cause", origin.Cause);
            Write(json, "differences", origin.Differences);
            json.WriteText("input", origin.Input);
            json.WriteEndObject();
        }
        json.WriteText("input", step.Input);
        if (step.Files is { } files)
            Write(json, files);
        if (step.Loss is { } loss)
        {
            json.WriteName("pruned");
            json.WriteStartObject();
            WriteTime(json, "time", loss.Time);
            json.WriteText("by", loss.By);
            json.WriteEndObject();
        }
        json.WriteStrings("missedImports", step.Missed);
        if (step.Notes.Count > 0)
        {
            json.WriteName("notes");
            json.WriteStartArray();
            foreach (var note in step.Notes)
            {
                json.WriteStartObject();
                json.WriteText("kind", note.Kind);
                json.WriteText("subject", note.Subject);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    private static void Write(CanonicalJsonWriter json, Files files)
    {
        json.WriteName("files");
        json.WriteStartObject();
        json.WriteName("total");
        json.WriteNumber(files.Total);
        if (files.Forgotten)
        {
            json.WriteName("forgotten");
            json.WriteBoolean(true);
        }
        if (files.Partial)
        {
            json.WriteName("partial");
            json.WriteBoolean(true);
        }
        if (files.Changes.Count > 0)
        {
            json.WriteName("changes");
            json.WriteStartArray();
            foreach (var file in files.Changes)
            {
                json.WriteStartObject();
                json.WriteText("path", file.Path);
                json.WriteText("change", file.Change);
                Write(json, "what", file.What);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    private static void Write(CanonicalJsonWriter json, string name, IReadOnlyCollection<Difference> differences)
    {
        if (differences.Count == 0)
            return;
        json.WriteName(name);
        json.WriteStartArray();
        foreach (var difference in differences)
        {
            json.WriteStartObject();
            json.WriteText("field", difference.Field);
            json.WriteText("subject", difference.Subject);
            json.WriteText("change", difference.Change);
            json.WriteText("before", difference.Before);
            json.WriteText("after", difference.After);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteTime(CanonicalJsonWriter json, string name, Timestamp? time)
    {
        if (time is not null)
            json.WriteText(name, StatusJson.Time(time));
    }
}
