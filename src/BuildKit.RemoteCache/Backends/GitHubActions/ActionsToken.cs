using System.Globalization;
using System.Text.Json;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>A scope of a token, usually a branch. Bit 1 of the permission allows reading, bit 2 writing.</summary>
internal readonly record struct ActionsScope(string Name, long Permission)
{
    public bool IsWritable => (Permission & 2) != 0;
}

/// <summary>The token a job gets for the cache service (spec 04 §8.4). It is read, not verified: the service does that.</summary>
/// <param name="Raw">The token as it is sent.</param>
/// <param name="Scopes">Its scopes, in its order: the job's own branch, then those it may read.</param>
internal sealed record ActionsToken(string Raw, IReadOnlyList<ActionsScope> Scopes)
{
    private static readonly string[] Algorithms =
        ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA", "none"];

    /// <summary>Where indexes are written: the last writable scope; empty when there is none.</summary>
    public string WriteScope => Scopes.LastOrDefault(scope => scope.IsWritable).Name ?? "";

    /// <summary>Reads a token.</summary>
    /// <exception cref="FormatException">It is none, is not valid now, or names no scopes.</exception>
    public static ActionsToken Parse(string token, DateTimeOffset now)
    {
        var segments = token.Split('.');
        if (segments.Length != 3)
            throw Malformed("token contains an invalid number of segments");
        var header = Decode(segments[0], "header");
        var claims = Decode(segments[1], "claim");
        if (!header.TryGetValue("alg", out var algorithm) || algorithm.ValueKind != JsonValueKind.String)
            throw new FormatException("token is unverifiable: signing method (alg) is unspecified");
        if (!Algorithms.Contains(algorithm.GetString(), StringComparer.Ordinal))
            throw new FormatException("token is unverifiable: signing method (alg) is unavailable");
        if (!claims.TryGetValue("ac", out var access))
            throw new FormatException("invalid token without access controls");
        if (access.ValueKind != JsonValueKind.String)
            throw new FormatException($"invalid token with access controls type {GoType(access)}");
        var expires = TimeOf(claims, "exp");
        if (now > expires)
            throw new FormatException($"cache token expired at {Shown(expires)}");
        var issued = TimeOf(claims, "nbf");
        if (now < issued)
            throw new FormatException($"invalid token with future issue time time {Shown(issued)}");
        return new ActionsToken(token, ScopesOf(access.GetString()!));
    }

    private static List<ActionsScope> ScopesOf(string json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.Null ? [] : [.. document.RootElement.EnumerateArray().Select(item =>
            {
                var scope = new ActionsScope("", 0);
                foreach (var (name, value) in ActionsJson.Members(item))
                {
                    if (name.Equals("Scope", StringComparison.OrdinalIgnoreCase))
                        scope = scope with { Name = value.GetString() ?? "" };
                    else if (name.Equals("Permission", StringComparison.OrdinalIgnoreCase))
                        scope = scope with { Permission = value.GetInt64() };
                }
                return scope;
            })];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new FormatException($"failed to parse token access controls: {e.Message}", e);
        }
    }

    private static DateTimeOffset TimeOf(IReadOnlyDictionary<string, JsonElement> claims, string name)
    {
        if (!claims.TryGetValue(name, out var time))
            throw new FormatException("invalid token without expiration time");
        if (time.ValueKind != JsonValueKind.Number)
            throw new FormatException($"invalid token with expiration time type {GoType(time)}");
        // A number beyond the calendar is a time without end.
        return DateTimeOffset.FromUnixTimeSeconds((long)Math.Clamp(time.GetDouble(), 0, 253402300799));
    }

    private static Dictionary<string, JsonElement> Decode(string segment, string what)
    {
        byte[] bytes;
        try
        {
            bytes = System.Buffers.Text.Base64Url.DecodeFromChars(segment);
        }
        catch (FormatException e)
        {
            throw Malformed($"could not base64 decode {what}: illegal base64 data", e);
        }
        try
        {
            using var document = JsonDocument.Parse(bytes);
            var members = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
            foreach (var (name, value) in ActionsJson.Members(document.RootElement.Clone()))
                members[name] = value;
            return members;
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            throw Malformed($"could not JSON decode {what}: {e.Message}", e);
        }
    }

    private static FormatException Malformed(string text, Exception? inner = null) => new("token is malformed: " + text, inner);

    private static string Shown(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture) + " +0000 UTC";

    private static string GoType(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Number => "float64",
        JsonValueKind.String => "string",
        JsonValueKind.True or JsonValueKind.False => "bool",
        JsonValueKind.Array => "[]interface {}",
        JsonValueKind.Object => "map[string]interface {}",
        _ => "<nil>",
    };
}
