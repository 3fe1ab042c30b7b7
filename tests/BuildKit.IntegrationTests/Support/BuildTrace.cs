using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace BuildKit.IntegrationTests.Support;

/// <summary>One step of a build as its client saw it.</summary>
public sealed class BuildStep(string name)
{
    public string Name => name;

    /// <summary>Whether the daemon began to work on it.</summary>
    public bool IsStarted { get; set; }

    /// <summary>Whether the result came from the cache.</summary>
    public bool IsCached { get; set; }

    public string Error { get; set; } = "";

    /// <summary>What the step wrote.</summary>
    public StringBuilder Output { get; } = new();

    public override string ToString() => $"{name}{(IsCached ? " (cached)" : IsStarted ? " (executed)" : "")}";
}

/// <summary>What <c>--progress=rawjson</c> tells of a build (spec 08 §4.8).</summary>
public sealed partial class BuildTrace
{
    private readonly Dictionary<string, BuildStep> _steps = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<string>> _statuses = new(StringComparer.Ordinal);

    private BuildTrace()
    {
    }

    /// <summary>All vertices, in the order they became known.</summary>
    public IReadOnlyCollection<BuildStep> Vertices => _steps.Values;

    /// <summary>Ids of all progress statuses.</summary>
    public IEnumerable<string> Statuses => _statuses.Values.SelectMany(s => s);

    /// <summary>All progress statuses with their bytes, in the order they came.</summary>
    public List<(string Id, long Current, long Total)> Transfers { get; } = [];

    /// <summary>Short texts of all warnings.</summary>
    public List<string> Warnings { get; } = [];

    /// <summary>Steps of the Dockerfile (not its base images) that were executed, not taken from the cache.</summary>
    public IReadOnlyList<string> Executed => [.. _steps.Values.Where(s => s.IsStarted && !s.IsCached && Instruction().IsMatch(s.Name)).Select(s => s.Name)];

    /// <summary>Steps of the Dockerfile (not its base images) that came from the cache.</summary>
    public IReadOnlyList<string> Cached => [.. _steps.Values.Where(s => s.IsCached && Instruction().IsMatch(s.Name)).Select(s => s.Name)];

    /// <summary>The step with this text in its name.</summary>
    public BuildStep Step(string part) => Assert.Single(_steps.Values, s => s.Name.Contains(part, StringComparison.Ordinal));

    /// <summary>Reads the lines of a finished build's progress; lines that are not JSON are left out.</summary>
    public static BuildTrace Parse(string lines)
    {
        var trace = new BuildTrace();
        foreach (var line in lines.Split('\n').Where(l => l.StartsWith('{')))
        {
            using var json = JsonDocument.Parse(line);
            trace.Add(json.RootElement);
        }
        return trace;
    }

    private void Add(JsonElement message)
    {
        foreach (var vertex in List(message, "vertexes"))
        {
            var step = Of(Text(vertex, "digest"), Text(vertex, "name"));
            step.IsStarted |= vertex.TryGetProperty("started", out _);
            // A step whose result could not be loaded is executed after all: what was said last counts.
            step.IsCached = vertex.TryGetProperty("cached", out var cached) && cached.GetBoolean();
            if (Text(vertex, "error") is { Length: > 0 } error)
                step.Error = error;
        }
        foreach (var status in List(message, "statuses"))
        {
            var vertex = Text(status, "vertex");
            if (!_statuses.TryGetValue(vertex, out var ids))
                _statuses[vertex] = ids = [];
            ids.Add(Text(status, "id"));
            Transfers.Add((Text(status, "id"), Number(status, "current"), Number(status, "total")));
        }
        foreach (var log in List(message, "logs"))
        {
            if (log.TryGetProperty("data", out var data) && data.ValueKind == JsonValueKind.String)
                Of(Text(log, "vertex"), "").Output.Append(Encoding.UTF8.GetString(data.GetBytesFromBase64()));
        }
        foreach (var warning in List(message, "warnings"))
        {
            if (warning.TryGetProperty("short", out var text))
                Warnings.Add(Encoding.UTF8.GetString(text.GetBytesFromBase64()));
        }
    }

    private BuildStep Of(string digest, string name)
    {
        if (!_steps.TryGetValue(digest, out var step))
            _steps[digest] = step = new BuildStep(name);
        return step;
    }

    private static string Text(JsonElement element, string name) => element.TryGetProperty(name, out var text) ? text.GetString()! : "";

    private static long Number(JsonElement element, string name) => element.TryGetProperty(name, out var number) ? number.GetInt64() : 0;

    private static IEnumerable<JsonElement> List(JsonElement message, string name) =>
        message.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array ? list.EnumerateArray() : [];

    [GeneratedRegex(@"^\[(?!internal\])[^\]]*\d+/\d+\] (?!FROM )")]
    private static partial Regex Instruction();
}
