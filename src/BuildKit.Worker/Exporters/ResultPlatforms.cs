using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters;

/// <summary>A platform of a result and the key it goes by.</summary>
public sealed record ResultPlatform(string Id, Platform Platform);

/// <summary>Platforms, refs and per-platform metadata of a result (spec 07 §2).</summary>
public static class ResultPlatforms
{
    /// <summary>Metadata key of the image config.</summary>
    public const string ConfigKey = "containerimage.config";

    /// <summary>Metadata key of the config of the base image.</summary>
    public const string BaseConfigKey = "containerimage.base.config";
    private const string PlatformsKey = "refs.platforms";

    /// <summary>The platforms of a result; one that names none has one, taken from its config.</summary>
    /// <exception cref="FormatException">The metadata is not usable.</exception>
    public static IReadOnlyList<ResultPlatform> Resolve(IReadOnlyDictionary<string, byte[]> metadata, bool isMap, Platform defaultPlatform)
    {
        if (metadata.TryGetValue(PlatformsKey, out var list))
            return Parse(list);
        if (isMap)
            throw new InvalidOperationException("unable to export multiple refs, missing platforms mapping");
        var platform = new Platform("", "");
        if (metadata.TryGetValue(ConfigKey, out var json) && json.Length > 0 && !json.AsSpan().SequenceEqual("null"u8))
        {
            var config = ParsePlatform(json);
            if ((config.Os.Length == 0) != (config.Architecture.Length == 0))
                throw new FormatException("invalid image config: os and architecture must be specified together");
            platform = config;
        }
        if (platform.Os.Length == 0)
            platform = defaultPlatform;
        platform = platform.Normalize();
        return [new ResultPlatform(platform.FormatAll(), platform)];
    }

    /// <summary>The ref for a platform id; false when there is none. A single ref serves every id.</summary>
    public static bool TryFindRef(this ExportSource source, string id, out IImmutableRef? found)
    {
        if (source.Refs.Count == 0 && !source.IsKeyed)
        {
            found = source.Ref;
            return true;
        }
        if (source.Refs.TryGetValue(id, out found))
            return true;
        if (source.Refs.Count == 1)
        {
            found = source.Refs.Values.First();
            return true;
        }
        return false;
    }

    /// <summary>A metadata value for a platform: that with the platform's suffix, else the general one; null for none.</summary>
    public static byte[]? ForPlatform(this IReadOnlyDictionary<string, byte[]> metadata, string key, string id) =>
        metadata.TryGetValue($"{key}/{id}", out var own) ? own : metadata.GetValueOrDefault(key);

    private static List<ResultPlatform> Parse(byte[] json)
    {
        var platforms = new List<ResultPlatform>();
        try
        {
            using var document = JsonDocument.Parse(json);
            if (document.RootElement.TryGetProperty("Platforms", out var list) && list.ValueKind == JsonValueKind.Array)
            {
                foreach (var entry in list.EnumerateArray())
                {
                    var id = entry.TryGetProperty("ID", out var name) ? name.GetString() ?? "" : "";
                    var platform = entry.TryGetProperty("Platform", out var value)
                        ? Platform.ParseJson(System.Text.Encoding.UTF8.GetBytes(value.GetRawText()))
                        : new Platform("", "");
                    platforms.Add(new ResultPlatform(id, platform));
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new FormatException($"failed to parse platforms passed to exporter: {e.Message}", e);
        }
        if (platforms.Count == 0)
            throw new FormatException("invalid empty platforms index for exporter");
        for (var i = 0; i < platforms.Count; i++)
        {
            var (id, platform) = platforms[i];
            if (id.Length == 0)
                throw new FormatException("invalid empty platform key for exporter");
            if (platform.Os.Length == 0 || platform.Architecture.Length == 0)
                throw new FormatException($"invalid platform value {platform.FormatAll()} for exporter");
            platforms[i] = new ResultPlatform(id, platform.Normalize());
        }
        return platforms;
    }

    private static Platform ParsePlatform(byte[] config)
    {
        try
        {
            return ImageConfig.Parse(config).Platform;
        }
        catch (FormatException e)
        {
            throw new FormatException($"failed to parse image config: {e.Message}", e);
        }
    }
}
