using System.Text.Json;
using BuildKit.IntegrationTests.EndToEnd.Exporters;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd.Attestations;

/// <summary>Builds and the statements they leave.</summary>
internal static class Statements
{
    public const string Provenance = "https://slsa.dev/provenance/v0.2";
    public const string Sbom = "https://spdx.dev/Document";

    /// <summary>Builds to an OCI archive; its documents.</summary>
    public static async Task<Dictionary<string, byte[]>> BuildAsync(Buildctl client, ContextDirectory context, params string[] arguments)
    {
        using var output = new TempDirectory();
        (await client.BuildAsync(context, ["--output", $"type=oci,dest={output.Path}/o.tar,name=example.com/app:v1", .. arguments])).Succeeded();
        var documents = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        await ExportedImage.ReadTarAsync(output.Path + "/o.tar", documents);
        return documents;
    }

    /// <summary>The predicates of a type, in order.</summary>
    public static IReadOnlyList<JsonElement> Of(this IReadOnlyDictionary<string, byte[]> documents, string type)
    {
        var found = new List<JsonElement>();
        foreach (var (name, bytes) in documents.OrderBy(document => document.Key, StringComparer.Ordinal))
        {
            if (!name.StartsWith("layer", StringComparison.Ordinal))
                continue;
            using var json = JsonDocument.Parse(bytes);
            if (json.RootElement.GetProperty("predicateType").GetString() == type)
                found.Add(json.RootElement.GetProperty("predicate").Clone());
        }
        return found;
    }

    /// <summary>A member further in, by its path.</summary>
    public static JsonElement At(this JsonElement element, params ReadOnlySpan<string> path)
    {
        foreach (var name in path)
            element = element.GetProperty(name);
        return element;
    }

    /// <summary>The raw text of each item.</summary>
    public static string[] Items(this JsonElement list) => [.. list.EnumerateArray().Select(item => item.GetRawText())];
}
