using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using BuildKit.Protocol.ErrDefs;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Wire;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using StackTrace = BuildKit.Protocol.Stack.Stack;

namespace BuildKit.Protocol.Errors;

/// <summary>
/// The typed details of build errors. Their <c>Any</c> holds JSON text under a type URL without the usual
/// prefix, so the generated packing cannot be used (spec 01 §3.3, §3.4).
/// </summary>
public static class TypedErrors
{
    private const string ErrDefs = "github.com/moby/buildkit/errdefs.";

    private static readonly Dictionary<string, (WireMessage Type, JsonStyle Style, MessageParser Parser)> Known =
        new(StringComparer.Ordinal)
        {
            ["github.com/moby/buildkit/stack.Stack+json"] = (ErrorSchema.Stack, JsonStyle.GoStruct, StackTrace.Parser),
            [ErrDefs + "Vertex+json"] = (ErrorSchema.Vertex, JsonStyle.GoStruct, Vertex.Parser),
            [ErrDefs + "Source+json"] = (ErrorSchema.Source, JsonStyle.GoStruct, Source.Parser),
            [ErrDefs + "FrontendCap+json"] = (ErrorSchema.Named, JsonStyle.GoStruct, FrontendCap.Parser),
            [ErrDefs + "Subrequest+json"] = (ErrorSchema.Named, JsonStyle.GoStruct, Subrequest.Parser),
            [ErrDefs + "Solve+json"] = (PbSchema.Solve, JsonStyle.Protobuf, Solve.Parser),
            ["github.com/moby/buildkit/gatewayapi.ExitMessage+json"] = (ErrorSchema.Exit, JsonStyle.GoStruct, ExitMessage.Parser),
        };

    /// <summary>Packs a detail: Stack, Vertex, Source, FrontendCap, Subrequest, Solve or ExitMessage.</summary>
    /// <exception cref="ArgumentException">The message is none of them.</exception>
    public static Any Encode(IMessage detail)
    {
        var url = detail switch
        {
            StackTrace => "github.com/moby/buildkit/stack.Stack+json",
            Vertex => ErrDefs + "Vertex+json",
            Source => ErrDefs + "Source+json",
            FrontendCap => ErrDefs + "FrontendCap+json",
            Subrequest => ErrDefs + "Subrequest+json",
            Solve => ErrDefs + "Solve+json",
            ExitMessage => "github.com/moby/buildkit/gatewayapi.ExitMessage+json",
            _ => throw new ArgumentException($"{detail.GetType().Name} is not an error detail", nameof(detail)),
        };
        var (type, style, _) = Known[url];
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            WireJson.Write(json, detail.ToByteArray(), type, style);
        return new Any { TypeUrl = url, Value = ByteString.CopyFromUtf8(EscapeAsGo(Encoding.UTF8.GetString(buffer.WrittenSpan))) };
    }

    /// <summary>Unpacks a detail. Null when its type is unknown or its value malformed: receivers drop such
    /// details (spec 01 §3.3).</summary>
    public static IMessage? Decode(Any detail)
    {
        if (!Known.TryGetValue(detail.TypeUrl, out var known))
            return null;
        try
        {
            using var json = JsonDocument.Parse(detail.Value.Memory);
            return known.Parser.ParseFrom(WireJson.Read(json.RootElement, known.Type, known.Style));
        }
        catch (Exception e) when (e is JsonException or InvalidProtocolBufferException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>The details of one type, in wire order.</summary>
    public static IEnumerable<T> Of<T>(IEnumerable<Any> details)
        where T : class, IMessage<T>
    {
        foreach (var detail in details)
            if (Decode(detail) is T typed)
                yield return typed;
    }

    private static string EscapeAsGo(string json) => json
        .Replace("<", "\\u003c", StringComparison.Ordinal)
        .Replace(">", "\\u003e", StringComparison.Ordinal)
        .Replace("&", "\\u0026", StringComparison.Ordinal)
        .Replace("\u2028", "\\u2028", StringComparison.Ordinal)
        .Replace("\u2029", "\\u2029", StringComparison.Ordinal);
}
