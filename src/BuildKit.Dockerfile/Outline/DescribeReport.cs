using System.Text;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Outline;

/// <summary>The requests this frontend answers (spec 05 §10). Lint is answered too, but not listed.</summary>
internal static class DescribeReport
{
    private static readonly Request[] Requests =
    [
        new("frontend.outline", "List all parameters current build target supports", [("target", "Target build stage")]),
        new("frontend.targets", "List all targets current build supports", []),
        new("frontend.subrequests.describe", "List available subrequest types", null),
    ];

    private sealed record Request(string Name, string Description, (string Name, string Description)[]? Options);

    public static byte[] ToJson()
    {
        var json = new CanonicalJsonWriter(indented: true);
        json.WriteStartArray();
        foreach (var request in Requests)
        {
            json.WriteStartObject();
            Write(json, "name", request.Name);
            Write(json, "version", "1.0.0");
            Write(json, "type", "rpc");
            Write(json, "description", request.Description);
            WriteNamed(json, "opts", request.Options);
            WriteNamed(json, "inputs", null);
            WriteNamed(json, "metadata", [("result.json", ""), ("result.txt", "")]);
            WriteNamed(json, "refs", null);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        return json.ToArray();
    }

    public static byte[] ToText()
    {
        var table = new TextTable(1).Row("NAME", "VERSION", "DESCRIPTION");
        foreach (var request in Requests)
            table.Row(request.Name["frontend.".Length..], "1.0.0", request.Description);
        var text = new StringBuilder();
        table.WriteTo(text);
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static void WriteNamed(CanonicalJsonWriter json, string name, (string Name, string Description)[]? entries)
    {
        json.WriteName(name);
        if (entries is null)
        {
            json.WriteNull();
            return;
        }
        json.WriteStartArray();
        foreach (var (entry, description) in entries)
        {
            json.WriteStartObject();
            Write(json, "name", entry);
            Write(json, "description", description);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void Write(CanonicalJsonWriter json, string name, string value)
    {
        json.WriteName(name);
        json.WriteString(value);
    }
}
