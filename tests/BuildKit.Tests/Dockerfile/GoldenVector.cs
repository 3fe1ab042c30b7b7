using System.Text.Json;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Tests.Dockerfile;

/// <summary>One vector of <c>golden/dockerfile</c>: a request and all that the reference made of it.</summary>
internal sealed class GoldenVector
{
    private readonly JsonElement _request;
    private readonly JsonElement _expected;

    public GoldenVector(string name)
    {
        Name = name;
        _request = Json("request.json");
        _expected = Json("expected.json");
    }

    public string Name { get; }

    public static IEnumerable<string> Names => Golden.Index("dockerfile", "vectors").Select(static v => v.GetProperty("name").GetString()!);

    public DockerfileFeatures Features => _request.GetProperty("channel").GetString() is "labs" ? DockerfileFeatures.Labs : DockerfileFeatures.Mainline;

    public FrontendBuildOptions Options => new()
    {
        Opts = _request.GetProperty("opts").EnumerateObject().ToDictionary(static o => o.Name, static o => o.Value.GetString()!, StringComparer.Ordinal),
        SessionId = _request.GetProperty("sessionID").GetString()!,
        WorkerPlatforms = [.. _request.GetProperty("workerPlatforms").EnumerateArray().Select(static p => Platform.Parse(p.GetString()!))],
        LlbCaps = LlbCaps.All.Everything(),
        GatewayCaps = GatewayCaps.All.Everything(),
    };

    public bool IsMultiPlatform => Options.Opts.GetValueOrDefault("platform", "").Contains(',', StringComparison.Ordinal);

    public string? Error => _expected.TryGetProperty("error", out var error) ? error.GetProperty("message").GetString() : null;

    public List<string> ErrorSources => !_expected.TryGetProperty("error", out var error) ? [] :
        [.. error.GetProperty("sources").EnumerateArray().Select(static s => s.GetProperty("filename").GetString() + ":" + Ranges(s.GetProperty("ranges")))];

    public List<string> Warnings => [.. _expected.GetProperty("warnings").EnumerateArray().Select(static w => string.Join('|',
        w.GetProperty("short").GetString(),
        string.Join(';', w.GetProperty("detail").EnumerateArray().Select(static d => d.GetString())),
        w.TryGetProperty("url", out var url) ? url.GetString() : "",
        w.GetProperty("level").GetInt32(),
        w.GetProperty("vertex").GetString(),
        Ranges(w.GetProperty("ranges"))))];

    /// <summary>Calls in order; neighbouring image resolutions are sorted, as they run at the same time.</summary>
    public List<string> Calls => SortNeighbours(_expected.GetProperty("calls") is { ValueKind: JsonValueKind.Array } calls
        ? [.. calls.EnumerateArray().Select(static c => Text(c))]
        : []);

    public JsonElement? Result => _expected.TryGetProperty("result", out var result) ? result : null;

    public Dictionary<string, byte[]> Metadata => Result is not { } result ? [] : result.GetProperty("metadata").EnumerateObject()
        .ToDictionary(static m => m.Name, m => m.Value.GetString() is var v && v!.StartsWith("file:", StringComparison.Ordinal) ? File.ReadAllBytes(Path(v[5..])) : System.Text.Encoding.UTF8.GetBytes(v), StringComparer.Ordinal);

    public List<Definition> Definitions => [.. Enumerable.Range(0, 1000).Select(i => Path($"def-{i}.pb")).TakeWhile(File.Exists).Select(static f => Definition.Parser.ParseFrom(File.ReadAllBytes(f)))];

    public string Path(params string[] parts) => Golden.Path("dockerfile", [Name, .. parts]);

    public static List<string> SortNeighbours(List<string> calls)
    {
        const string prefix = "ResolveImageConfig";
        for (var start = 0; start < calls.Count; start++)
        {
            var end = start;
            while (end < calls.Count && calls[end].StartsWith(prefix, StringComparison.Ordinal))
                end++;
            if (end > start + 1)
                calls.Sort(start, end - start, StringComparer.Ordinal);
            start = Math.Max(start, end - 1);
        }
        return calls;
    }

    private static string Text(JsonElement call)
    {
        string Get(string name) => call.TryGetProperty(name, out var value) ? value.ToString() : "";
        return Get("call") switch
        {
            "Solve" when Get("frontend").Length > 0 => $"Solve {Get("frontend")} {string.Join(',', call.GetProperty("opts").EnumerateObject().OrderBy(static o => o.Name, StringComparer.Ordinal).Select(static o => o.Name + "=" + o.Value.GetString()))}",
            "Solve" => $"Solve {Get("definition")}{(Get("evaluate") is "True" ? " evaluate" : "")}{(call.TryGetProperty("cacheImports", out var imports) ? " imports " + imports.GetArrayLength() : "")}",
            var resolve => $"{resolve} {Get("ref")} [{Get("platform")}] {Get("resolveMode")} {(call.TryGetProperty("ociStore", out var store) ? store.GetProperty("SessionID").GetString() + "/" + store.GetProperty("StoreID").GetString() : "")} {Get("logName")}",
        };
    }

    private static string Ranges(JsonElement ranges) => ranges.ValueKind != JsonValueKind.Array ? "" :
        string.Join(' ', ranges.EnumerateArray().Select(static r => string.Join(',', r.EnumerateArray().Select(static n => n.GetInt32()))));

    private JsonElement Json(string file)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path(file)));
        return document.RootElement.Clone();
    }
}
