using System.Globalization;
using System.Text;
using System.Text.Json;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Cli.Text;

/// <summary>The places in source files that an error points to, as excerpts (spec 08 §4.6).</summary>
internal static class SourceSnippets
{
    private const string SourceType = "github.com/moby/buildkit/errdefs.Source+json";
    private const string Rule = "--------------------\n";

    /// <summary>Writes an excerpt for every source among the details of an error, each once: an error that went through
    /// the client and back names its source at every turn.</summary>
    public static void Write(RpcException answer, Stream output, HashSet<Google.Protobuf.ByteString>? written = null)
    {
        written ??= [];
        foreach (var detail in answer.Details)
        {
            if (detail.TypeUrl == SourceType && written.Add(detail.Value))
                Write(detail.Value.Memory, output);
        }
    }

    private static void Write(ReadOnlyMemory<byte> json, Stream output)
    {
        string fileName;
        byte[] data;
        var ranges = new List<(int Start, int End)>();
        try
        {
            using var document = JsonDocument.Parse(json);
            if (Member(document.RootElement, "info") is not { ValueKind: JsonValueKind.Object } info)
                return;
            fileName = Member(info, "filename")?.GetString() ?? "";
            data = Member(info, "data")?.GetBytesFromBase64() ?? [];
            if (Member(document.RootElement, "ranges") is { ValueKind: JsonValueKind.Array } list)
            {
                foreach (var range in list.EnumerateArray())
                {
                    var start = Line(range, "start");
                    ranges.Add((start, Math.Max(start, Line(range, "end"))));
                }
            }
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException or FormatException)
        {
            // A detail that cannot be read is no detail (spec 01 §3.3).
            return;
        }
        Write(fileName, data, ranges, output);
    }

    private static void Write(string fileName, byte[] data, List<(int Start, int End)> ranges, Stream output)
    {
        if (ranges.Count == 0)
            return;
        var lines = new List<ReadOnlyMemory<byte>>();
        for (var rest = data.AsMemory(); ;)
        {
            var end = rest.Span.IndexOf((byte)'\n');
            lines.Add(end < 0 ? rest : rest[..end]);
            if (end < 0)
                break;
            rest = rest[(end + 1)..];
        }
        var (first, last) = (ranges[0].Start, ranges[0].End);
        foreach (var (start, end) in ranges)
            (first, last) = (Math.Min(first, start), Math.Max(last, end));
        if (first > lines.Count || first < 1)
            return;
        last = Math.Min(last, lines.Count);
        var (from, to) = (first, last);
        var pad = first == last ? 4 : 2;
        for (var p = 0; p < pad; p++)
        {
            if (from > 1)
            {
                from--;
                p++;
            }
            if (to < lines.Count)
            {
                to++;
                p++;
            }
        }
        Put(output, string.Create(CultureInfo.InvariantCulture, $"{fileName}:{first}\n{Rule}"));
        for (var number = from; number <= to; number++)
        {
            var isMarked = ranges.Exists(range => number >= range.Start && number <= range.End);
            Put(output, string.Create(CultureInfo.InvariantCulture, $" {number,3} | {(isMarked ? ">>>" : "   ")} "));
            output.Write(lines[number - 1].Span);
            output.WriteByte((byte)'\n');
        }
        Put(output, Rule);
    }

    private static int Line(JsonElement range, string name) =>
        Member(range, name) is { ValueKind: JsonValueKind.Object } position && Member(position, "line") is { } line ? line.GetInt32() : 0;

    private static JsonElement? Member(JsonElement parent, string name)
    {
        foreach (var member in parent.EnumerateObject())
        {
            if (string.Equals(member.Name, name, StringComparison.OrdinalIgnoreCase))
                return member.Value;
        }
        return null;
    }

    private static void Put(Stream output, string text) => output.Write(Encoding.UTF8.GetBytes(text));
}
