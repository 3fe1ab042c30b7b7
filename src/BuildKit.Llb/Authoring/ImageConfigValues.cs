using System.Text.Json;
using BuildKit.Oci;

namespace BuildKit.Llb;

/// <summary>What a state takes over from an image configuration.</summary>
internal sealed record ImageConfigValues(IReadOnlyList<string> Environment, string WorkingDirectory, Platform? Platform)
{
    public static ImageConfigValues Parse(ReadOnlySpan<byte> json)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            using var document = JsonDocument.ParseValue(ref reader);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
                throw new LlbException($"invalid image config: expected a JSON object, found {root.ValueKind}");
            var config = root.TryGetProperty("config", out var found) && found.ValueKind == JsonValueKind.Object ? found : default;
            var (os, architecture) = (Text(root, "os"), Text(root, "architecture"));
            var platform = os.Length == 0 || architecture.Length == 0
                ? null
                : new Platform(os, architecture, Text(root, "variant"), Text(root, "os.version")) { OsFeatures = Texts(root, "os.features") };
            return config.ValueKind == JsonValueKind.Object
                ? new ImageConfigValues(Texts(config, "Env"), Text(config, "WorkingDir"), platform)
                : new ImageConfigValues([], "", platform);
        }
        catch (JsonException e)
        {
            throw new LlbException($"invalid image config: {e.Message}", e);
        }
    }

    public StateValues Apply(StateValues values)
    {
        foreach (var line in Environment)
        {
            var split = line.IndexOf('=', StringComparison.Ordinal);
            var name = split < 0 ? line : line[..split];
            if (name.Length > 0)
                values = values.WithEnv(name, split < 0 ? "" : line[(split + 1)..]);
        }

        values = values.WithDirectory(WorkingDirectory);
        return Platform is { } platform ? values with { Platform = platform.Normalize() } : values;
    }

    private static string Text(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    private static string[] Texts(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.String).Select(item => item.GetString()!)]
            : [];
}
