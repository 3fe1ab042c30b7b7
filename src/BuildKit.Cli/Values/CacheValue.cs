using BuildKit.Client;
using BuildKit.CommandLine;
using BuildKit.Oci;

namespace BuildKit.Cli.Values;

/// <summary>Values of <c>--export-cache</c> and <c>--import-cache</c> (spec 08 §2.3).</summary>
internal static class CacheValue
{
    /// <summary>Reads a value of <c>--export-cache</c>.</summary>
    public static CacheRequest ParseExport(string text, Func<string, string?> variable, Action<string> warn)
    {
        if (IsLegacy(text))
        {
            warn("--export-cache <ref> is deprecated. Please use --export-cache type=registry,ref=<ref>,<opt>=<optval>[,<opt>=<optval>] instead");
            return new("registry", new Dictionary<string, string>(StringComparer.Ordinal) { ["ref"] = text, ["mode"] = "min" });
        }
        var request = Parse(text, "--export-cache", variable);
        if (!request.Attributes.ContainsKey("mode"))
            request = request with { Attributes = new Dictionary<string, string>(request.Attributes, StringComparer.Ordinal) { ["mode"] = "min" } };
        return request;
    }

    /// <summary>Reads a value of <c>--import-cache</c>.</summary>
    public static CacheRequest ParseImport(string text, Func<string, string?> variable, Action<string> warn)
    {
        if (!IsLegacy(text))
            return Parse(text, "--import-cache", variable);
        warn("--import-cache <ref> is deprecated. Please use --import-cache type=registry,ref=<ref>,<opt>=<optval>[,<opt>=<optval>] instead.");
        return new("registry", new Dictionary<string, string>(StringComparer.Ordinal) { ["ref"] = text });
    }

    private static bool IsLegacy(string text) => !text.Contains("type=", StringComparison.Ordinal);

    private static CacheRequest Parse(string text, string flag, Func<string, string?> variable)
    {
        var attributes = CsvRecord.ParsePairs(text);
        if (!attributes.Remove("type", out var type) || type.Length == 0)
            throw new CommandException($"{flag} requires type=<type>");
        if (type == "gha")
            AddGitHubEnvironment(attributes, variable);
        return new(type, attributes);
    }

    private static void AddGitHubEnvironment(Dictionary<string, string> attributes, Func<string, string?> variable)
    {
        if (!attributes.TryGetValue("version", out var version))
            version = GoSyntax.ParseBool(variable("ACTIONS_CACHE_SERVICE_V2") ?? "") == true ? "2" : "";
        if (version == "2" && !attributes.ContainsKey("url_v2") && variable("ACTIONS_RESULTS_URL") is { } results)
            attributes["url_v2"] = results;
        if (!attributes.ContainsKey("url") && (variable("ACTIONS_CACHE_URL") ?? variable("ACTIONS_RESULTS_URL")) is { } url)
            attributes["url"] = url;
        if (!attributes.ContainsKey("url") && !attributes.ContainsKey("url_v2"))
            throw new CommandException("cache with type gha requires url parameter to be set");
        if (attributes.ContainsKey("token"))
            return;
        attributes["token"] = variable("ACTIONS_RUNTIME_TOKEN")
            ?? throw new CommandException("cache with type gha requires token parameter or $ACTIONS_RUNTIME_TOKEN");
    }
}
