using System.Globalization;
using BuildKit.Oci;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Pb;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Cli.Progress;

/// <summary>Status messages as JSON lines (spec 08 §4.8).</summary>
internal static class StatusJson
{
    /// <summary>A message as one line, newline included.</summary>
    public static byte[] Line(StatusResponse message)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        WriteList(json, "vertexes", message.Vertexes, WriteVertex);
        WriteList(json, "statuses", message.Statuses, WriteStatus);
        WriteList(json, "logs", message.Logs, WriteLog);
        WriteList(json, "warnings", message.Warnings, WriteWarning);
        json.WriteEndObject();
        return [.. json.WrittenSpan, (byte)'\n'];
    }

    /// <summary>A time as RFC 3339 in UTC, trailing zeros of the fraction removed.</summary>
    public static string Time(Timestamp time)
    {
        var seconds = DateTimeOffset.FromUnixTimeSeconds(time.Seconds).ToString("yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture);
        var fraction = time.Nanos.ToString("D9", CultureInfo.InvariantCulture).TrimEnd('0');
        return fraction.Length == 0 ? seconds + "Z" : $"{seconds}.{fraction}Z";
    }

    private static void WriteVertex(CanonicalJsonWriter json, Vertex vertex)
    {
        WriteText(json, "digest", vertex.Digest);
        if (vertex.Inputs.Count > 0)
            WriteList(json, "inputs", vertex.Inputs, static (json, input) => json.WriteString(input), isObject: false);
        WriteText(json, "name", vertex.Name);
        WriteTime(json, "started", vertex.Started);
        WriteTime(json, "completed", vertex.Completed);
        WriteTrue(json, "cached", vertex.Cached);
        WriteText(json, "error", vertex.Error);
        if (vertex.ProgressGroup is not { } group)
            return;
        json.WriteName("progressGroup");
        json.WriteStartObject();
        WriteText(json, "id", group.Id);
        WriteText(json, "name", group.Name);
        WriteTrue(json, "weak", group.Weak);
        json.WriteEndObject();
    }

    private static void WriteStatus(CanonicalJsonWriter json, VertexStatus status)
    {
        json.WriteName("id");
        json.WriteString(status.ID);
        WriteText(json, "vertex", status.Vertex);
        WriteText(json, "name", status.Name);
        if (status.Total != 0)
        {
            json.WriteName("total");
            json.WriteNumber(status.Total);
        }
        json.WriteName("current");
        json.WriteNumber(status.Current);
        WriteTime(json, "timestamp", status.Timestamp ?? NoTime);
        WriteTime(json, "started", status.Started);
        WriteTime(json, "completed", status.Completed);
    }

    private static void WriteLog(CanonicalJsonWriter json, VertexLog log)
    {
        WriteText(json, "vertex", log.Vertex);
        if (log.Stream != 0)
        {
            json.WriteName("stream");
            json.WriteNumber(log.Stream);
        }
        json.WriteName("data");
        if (log.Msg.IsEmpty)
            json.WriteNull();
        else
            json.WriteBase64(log.Msg.Span);
        WriteTime(json, "timestamp", log.Timestamp ?? NoTime);
    }

    private static void WriteWarning(CanonicalJsonWriter json, VertexWarning warning)
    {
        WriteText(json, "vertex", warning.Vertex);
        if (warning.Level != 0)
        {
            json.WriteName("level");
            json.WriteNumber(warning.Level);
        }
        WriteBytes(json, "short", warning.Short);
        WriteList(json, "detail", warning.Detail, static (json, line) => json.WriteBase64(line.Span), isObject: false);
        WriteText(json, "url", warning.Url);
        if (warning.Info is { } info)
        {
            json.WriteName("sourceInfo");
            json.WriteStartObject();
            WriteText(json, "filename", info.Filename);
            WriteBytes(json, "data", info.Data);
            if (info.Definition is { } definition)
            {
                json.WriteName("definition");
                json.WriteStartObject();
                WriteList(json, "def", definition.Def, static (json, op) => json.WriteBase64(op.Span), isObject: false);
                json.WriteEndObject();
            }
            WriteText(json, "language", info.Language);
            json.WriteEndObject();
        }
        WriteList(json, "range", warning.Ranges, WriteRange);
    }

    private static void WriteRange(CanonicalJsonWriter json, Protocol.Pb.Range range)
    {
        WritePosition(json, "start", range.Start);
        WritePosition(json, "end", range.End);
    }

    private static void WritePosition(CanonicalJsonWriter json, string name, Position? position)
    {
        if (position is null)
            return;
        json.WriteName(name);
        json.WriteStartObject();
        if (position.Line != 0)
        {
            json.WriteName("line");
            json.WriteNumber(position.Line);
        }
        if (position.Character != 0)
        {
            json.WriteName("character");
            json.WriteNumber(position.Character);
        }
        json.WriteEndObject();
    }

    private static Timestamp NoTime => new() { Seconds = -62135596800 };

    private static void WriteList<T>(CanonicalJsonWriter json, string name, IReadOnlyCollection<T> items, Action<CanonicalJsonWriter, T> write, bool isObject = true)
    {
        if (items.Count == 0)
            return;
        json.WriteName(name);
        json.WriteStartArray();
        foreach (var item in items)
        {
            if (isObject)
                json.WriteStartObject();
            write(json, item);
            if (isObject)
                json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteText(CanonicalJsonWriter json, string name, string value)
    {
        if (value.Length == 0)
            return;
        json.WriteName(name);
        json.WriteString(value);
    }

    private static void WriteBytes(CanonicalJsonWriter json, string name, ByteString value)
    {
        if (value.IsEmpty)
            return;
        json.WriteName(name);
        json.WriteBase64(value.Span);
    }

    private static void WriteTrue(CanonicalJsonWriter json, string name, bool value)
    {
        if (!value)
            return;
        json.WriteName(name);
        json.WriteBoolean(value);
    }

    private static void WriteTime(CanonicalJsonWriter json, string name, Timestamp? time)
    {
        if (time is null)
            return;
        json.WriteName(name);
        json.WriteString(Time(time));
    }
}
