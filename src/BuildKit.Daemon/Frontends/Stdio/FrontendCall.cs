using System.Collections;
using System.Text.Json;
using BuildKit.Daemon.Frontends.Images;
using BuildKit.Oci;

namespace BuildKit.Daemon.Frontends.Stdio;

/// <summary>What a frontend's process is told in its environment; see <see cref="FrontendEnvironment"/>.</summary>
/// <param name="Options">Options of the call.</param>
/// <param name="SessionId">The client's session.</param>
/// <param name="Platforms">Platforms of the first worker.</param>
/// <param name="Product">What to update when the daemon is too old.</param>
internal sealed record FrontendCall(IReadOnlyDictionary<string, string> Options, string SessionId, IReadOnlyList<Platform> Platforms, string Product)
{
    /// <summary>The call this process was started for; null when no daemon started it.</summary>
    /// <exception cref="InvalidOperationException">The description of the workers is malformed.</exception>
    public static FrontendCall? FromEnvironment()
    {
        if (Environment.GetEnvironmentVariable(FrontendEnvironment.SessionId) is not { } session)
            return null;
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            if (!((string)variable.Key).StartsWith(FrontendEnvironment.OptionPrefix, StringComparison.Ordinal))
                continue;
            var option = ((string?)variable.Value ?? "").Split('=', 2);
            if (option.Length == 2)
                options[option[0]] = option[1];
        }
        return new FrontendCall(
            options, session, ReadPlatforms(Environment.GetEnvironmentVariable(FrontendEnvironment.Workers) ?? ""),
            Environment.GetEnvironmentVariable(FrontendEnvironment.Product) ?? "");
    }

    private static List<Platform> ReadPlatforms(string workers)
    {
        var platforms = new List<Platform>();
        if (workers.Length == 0)
            return platforms;
        try
        {
            using var json = JsonDocument.Parse(workers);
            if (json.RootElement.ValueKind != JsonValueKind.Array || json.RootElement.GetArrayLength() == 0)
                return platforms;
            if (!json.RootElement[0].TryGetProperty("platforms", out var list) || list.ValueKind != JsonValueKind.Array)
                return platforms;
            foreach (var platform in list.EnumerateArray())
                platforms.Add(new Platform(Text(platform, "os"), Text(platform, "architecture"), Text(platform, "variant")));
            return platforms;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new InvalidOperationException($"{FrontendEnvironment.Workers} cannot be read: {exception.Message}", exception);
        }
    }

    private static string Text(JsonElement element, string name) => element.TryGetProperty(name, out var text) ? text.GetString() ?? "" : "";
}
