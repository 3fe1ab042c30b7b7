using System.Text.Json;

namespace BuildKit.Registry.Http;

/// <summary>The error document of the distribution API: <c>{"errors":[{"code","message","detail"}]}</c>.</summary>
internal static class RegistryErrorBody
{
    /// <summary><c>code: message</c> of each error; empty when the body is no such document.</summary>
    public static string Format(byte[] body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            if (document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("errors", out var errors) || errors.ValueKind != JsonValueKind.Array)
                return "";
            var texts = errors.EnumerateArray().Where(error => error.ValueKind == JsonValueKind.Object).Select(One).ToList();
            return texts.Count switch
            {
                0 => "",
                1 => texts[0],
                _ => "errors:\n" + string.Concat(texts.Select(text => text + "\n")),
            };
        }
        catch (JsonException)
        {
            return "";
        }
    }

    private static string One(JsonElement error)
    {
        var code = Text(error, "code").ToLowerInvariant().Replace('_', ' ');
        var message = Text(error, "message");
        return message.Length == 0 ? code : $"{code}: {message}";
    }

    private static string Text(JsonElement error, string key) =>
        error.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}
