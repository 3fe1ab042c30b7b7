using System.Text.Json;
using BuildKit.Daemon.Solving;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Daemon.Gateway;

/// <summary>The result of a frontend from before <c>Return</c> existed: that of its last request, with metadata that
/// came along with the request (spec 01 §6.2 "Final").</summary>
internal static class FinalResult
{
    /// <summary>The result to build.</summary>
    /// <param name="result">What the request made.</param>
    /// <param name="attributes">A JSON object of base64 values; what the result says itself counts more.</param>
    /// <exception cref="RpcException">The attributes are malformed.</exception>
    public static BuildResult Of(BuildResult result, ReadOnlySpan<byte> attributes)
    {
        var final = new BuildResult { Ref = result.Ref };
        try
        {
            var reader = new Utf8JsonReader(attributes);
            using var json = JsonDocument.ParseValue(ref reader);
            foreach (var attribute in json.RootElement.EnumerateObject())
                final.Metadata[attribute.Name] = attribute.Value.ValueKind == JsonValueKind.Null ? [] : attribute.Value.GetBytesFromBase64();
        }
        catch (Exception exception) when (exception is JsonException or FormatException or InvalidOperationException)
        {
            throw new RpcException(StatusCode.Unknown, $"invalid exporter attributes: {exception.Message}", exception);
        }
        foreach (var (key, value) in result.Metadata)
            final.Metadata[key] = value;
        return final;
    }
}
