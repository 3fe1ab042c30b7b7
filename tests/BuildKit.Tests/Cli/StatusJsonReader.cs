using System.Text.Json;
using BuildKit.Client.Progress;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Pb;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Tests.Cli;

/// <summary>Reads the lines of a golden status stream back into messages.</summary>
internal static class StatusJsonReader
{
    public static StatusResponse Read(string line)
    {
        using var document = JsonDocument.Parse(line);
        var root = document.RootElement;
        var message = new StatusResponse();
        foreach (var item in Items(root, "vertexes"))
        {
            var vertex = new Vertex
            {
                Digest = Text(item, "digest"),
                Name = Text(item, "name"),
                Error = Text(item, "error"),
                Cached = item.TryGetProperty("cached", out var cached) && cached.GetBoolean(),
                Started = Time(item, "started"),
                Completed = Time(item, "completed"),
            };
            vertex.Inputs.AddRange(Items(item, "inputs").Select(static input => input.GetString()!));
            if (item.TryGetProperty("progressGroup", out var group))
            {
                vertex.ProgressGroup = new ProgressGroup
                {
                    Id = Text(group, "id"),
                    Name = Text(group, "name"),
                    Weak = group.TryGetProperty("weak", out var weak) && weak.GetBoolean(),
                };
            }
            message.Vertexes.Add(vertex);
        }
        foreach (var item in Items(root, "statuses"))
        {
            message.Statuses.Add(new VertexStatus
            {
                ID = Text(item, "id"),
                Vertex = Text(item, "vertex"),
                Name = Text(item, "name"),
                Current = Number(item, "current"),
                Total = Number(item, "total"),
                Timestamp = Time(item, "timestamp"),
                Started = Time(item, "started"),
                Completed = Time(item, "completed"),
            });
        }
        foreach (var item in Items(root, "logs"))
        {
            message.Logs.Add(new VertexLog
            {
                Vertex = Text(item, "vertex"),
                Stream = Number(item, "stream"),
                Timestamp = Time(item, "timestamp"),
                Msg = Bytes(item, "data"),
            });
        }
        foreach (var item in Items(root, "warnings"))
            message.Warnings.Add(Warning(item));
        return message;
    }

    private static VertexWarning Warning(JsonElement item)
    {
        var warning = new VertexWarning { Vertex = Text(item, "vertex"), Level = Number(item, "level"), Short = Bytes(item, "short"), Url = Text(item, "url") };
        warning.Detail.AddRange(Items(item, "detail").Select(static line => ByteString.CopyFrom(line.GetBytesFromBase64())));
        if (item.TryGetProperty("sourceInfo", out var info))
        {
            warning.Info = new SourceInfo { Filename = Text(info, "filename"), Data = Bytes(info, "data"), Language = Text(info, "language") };
            if (info.TryGetProperty("definition", out var definition))
            {
                warning.Info.Definition = new Definition();
                warning.Info.Definition.Def.AddRange(Items(definition, "def").Select(static op => ByteString.CopyFrom(op.GetBytesFromBase64())));
            }
        }
        foreach (var range in Items(item, "range"))
            warning.Ranges.Add(new BuildKit.Protocol.Pb.Range { Start = Position(range, "start"), End = Position(range, "end") });
        return warning;
    }

    private static Position? Position(JsonElement parent, string name) => parent.TryGetProperty(name, out var position)
        ? new Position { Line = (int)Number(position, "line"), Character = (int)Number(position, "character") }
        : null;

    private static IEnumerable<JsonElement> Items(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array ? list.EnumerateArray() : [];

    private static string Text(JsonElement parent, string name) => parent.TryGetProperty(name, out var value) ? value.GetString()! : "";

    private static long Number(JsonElement parent, string name) => parent.TryGetProperty(name, out var value) ? value.GetInt64() : 0;

    private static ByteString Bytes(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? ByteString.CopyFrom(value.GetBytesFromBase64()) : ByteString.Empty;

    private static Timestamp? Time(JsonElement parent, string name)
    {
        if (!parent.TryGetProperty(name, out var value))
            return null;
        var text = value.GetString()!;
        var whole = DateTimeOffset.Parse(text[..19] + "Z", System.Globalization.CultureInfo.InvariantCulture);
        var fraction = text.Length > 20 && text[19] == '.' ? text[20..^1].PadRight(9, '0') : "0";
        return new Timestamp { Seconds = whole.ToUnixTimeSeconds(), Nanos = int.Parse(fraction, System.Globalization.CultureInfo.InvariantCulture) };
    }
}
