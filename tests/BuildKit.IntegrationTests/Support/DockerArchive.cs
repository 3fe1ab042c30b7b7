using System.Formats.Tar;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using BuildKit.Oci;
using BuildKit.Storage.Layers.Tar;
using TarReader = BuildKit.Storage.Layers.Tar.TarReader;

namespace BuildKit.IntegrationTests.Support;

/// <summary>An entry of a layer.</summary>
/// <param name="Path">Absolute path without a slash at the end.</param>
/// <param name="Type">Type as in tar.</param>
/// <param name="Text">Mode, owner, link target, content and attributes.</param>
/// <param name="Time">Seconds since 1970, or <c>now</c> for a time of the build.</param>
public sealed record LayerEntry(string Path, char Type, string Text, string Time)
{
    /// <summary>Everything in one line.</summary>
    public override string ToString() => $"{Path} {Type} {Text} {Time}";
}

/// <summary>What an image in a docker archive says and holds, as text that can be compared.</summary>
/// <param name="Config">The configuration without times and digests.</param>
/// <param name="Layers">For each layer its entries, sorted.</param>
public sealed partial record DockerArchive(JsonObject Config, IReadOnlyList<IReadOnlyList<LayerEntry>> Layers)
{
    private const string WhiteoutPrefix = ".wh.";
    private const string Opaque = ".wh..wh..opq";
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Times after this one are those of the build, not of its input.</summary>
    private static readonly long s_buildTimes = DateTimeOffset.UtcNow.AddDays(-1).ToUnixTimeSeconds();

    /// <summary>Reads the only image of an archive made by <c>docker save</c> or <c>type=docker</c>.</summary>
    public static async Task<DockerArchive> ReadAsync(string path)
    {
        var files = Files(await File.ReadAllBytesAsync(path));
        using var manifest = JsonDocument.Parse(files["manifest.json"]);
        var image = manifest.RootElement[0];
        var layers = new List<IReadOnlyList<LayerEntry>>();
        foreach (var layer in image.GetProperty("Layers").EnumerateArray())
            layers.Add(await ListAsync(files[layer.GetString()!]));
        return new DockerArchive(Plain(files[image.GetProperty("Config").GetString()!]), layers);
    }

    /// <summary>Configuration and layers in one text.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(Config.ToJsonString(s_indented)).Append('\n');
        foreach (var (index, layer) in Layers.Index())
            text.Append(CultureInfo.InvariantCulture, $"--- layer {index}\n").AppendJoin('\n', layer).Append('\n');
        return text.ToString();
    }

    /// <summary>Configuration and the files that are there once all layers are unpacked, without the times of directories.</summary>
    /// <param name="ignoring">Paths left out, with what is below them.</param>
    public string Unpacked(IReadOnlyCollection<string> ignoring)
    {
        var tree = new SortedDictionary<string, LayerEntry>(StringComparer.Ordinal);
        foreach (var layer in Layers)
        {
            foreach (var entry in layer.Where(e => IsWhiteout(e.Path)))
            {
                var name = entry.Path[(entry.Path.LastIndexOf('/') + 1)..];
                var parent = entry.Path[..^(name.Length + 1)];
                Remove(tree, name == Opaque ? parent : $"{parent}/{name[WhiteoutPrefix.Length..]}", includingItself: name != Opaque);
            }
            foreach (var entry in layer.Where(e => !IsWhiteout(e.Path)))
            {
                if (entry.Type != '5' || (tree.TryGetValue(entry.Path, out var before) && before.Type != '5'))
                    Remove(tree, entry.Path, includingItself: true);
                tree[entry.Path] = entry.Type == '5' ? entry with { Time = "-" } : entry;
            }
        }
        foreach (var path in ignoring)
            Remove(tree, path, includingItself: true);
        return Config.ToJsonString(s_indented) + "\n" + string.Join('\n', tree.Values);

        static bool IsWhiteout(string path) => path[(path.LastIndexOf('/') + 1)..].StartsWith(WhiteoutPrefix, StringComparison.Ordinal);
    }

    private static void Remove(SortedDictionary<string, LayerEntry> tree, string path, bool includingItself)
    {
        foreach (var gone in tree.Keys.Where(k => k.StartsWith(path + "/", StringComparison.Ordinal)).ToArray())
            tree.Remove(gone);
        if (includingItself)
            tree.Remove(path);
    }

    private static Dictionary<string, byte[]> Files(byte[] tar)
    {
        using var reader = new System.Formats.Tar.TarReader(new MemoryStream(tar));
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var links = new List<(string Name, string Target)>();
        while (reader.GetNextEntry() is { } entry)
        {
            if (entry.EntryType is TarEntryType.SymbolicLink)
            {
                // Layers that two images share are links to one file.
                links.Add((entry.Name, Path.GetFullPath(Path.Combine("/", Path.GetDirectoryName(entry.Name)!, entry.LinkName))[1..]));
                continue;
            }
            using var content = new MemoryStream();
            entry.DataStream?.CopyTo(content);
            files[entry.Name] = content.ToArray();
        }
        foreach (var (name, target) in links)
            files[name] = files[target];
        return files;
    }

    private static async Task<IReadOnlyList<LayerEntry>> ListAsync(byte[] layer)
    {
        Stream stream = new MemoryStream(layer);
        if (layer is [0x1f, 0x8b, ..])
            stream = new GZipStream(stream, CompressionMode.Decompress);
        await using (stream)
        {
            var reader = new TarReader(stream);
            var entries = new List<LayerEntry>();
            while (await reader.NextAsync(CancellationToken.None) is { } entry)
            {
                using var content = new MemoryStream();
                var buffer = new byte[1 << 16];
                while (await reader.ReadAsync(buffer, CancellationToken.None) is > 0 and var count)
                    content.Write(buffer.AsSpan(0, count));
                entries.Add(Entry(entry, content.ToArray()));
            }
            return [.. entries.OrderBy(e => e.Path, StringComparer.Ordinal)];
        }
    }

    private static LayerEntry Entry(TarHeader entry, byte[] content)
    {
        var text = new StringBuilder().Append(CultureInfo.InvariantCulture, $"{Convert.ToString(entry.Mode & 0xFFF, 8)} {entry.Uid}:{entry.Gid}");
        if (entry.LinkName.Length > 0)
            text.Append(" -> ").Append(entry.LinkName);
        if (entry.Type is TarType.Char or TarType.Block)
            text.Append(CultureInfo.InvariantCulture, $" {entry.DevMajor}:{entry.DevMinor}");
        if (entry.Type == TarType.Regular)
            text.Append(' ').Append(Content(content));
        foreach (var (key, value) in entry.Xattrs.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            text.Append(CultureInfo.InvariantCulture, $" {key}={Convert.ToHexStringLower(value)}");
        var time = entry.Mtime.Seconds > s_buildTimes ? "now" : entry.Mtime.Seconds.ToString(CultureInfo.InvariantCulture);
        return new LayerEntry("/" + entry.Name.Trim('/'), (char)entry.Type, text.ToString(), time);
    }

    private static string Content(byte[] content) => content.Length switch
    {
        // The shell of the base image is the machine's.
        > 100_000 => "(a program)",
        > 512 when content.AsSpan(257, 5).SequenceEqual("ustar"u8) => "(an archive)",
        > 4 when content is [0x1f, 0x8b, ..] or [(byte)'B', (byte)'Z', (byte)'h', ..] or [0xfd, (byte)'7', ..] or [0x28, 0xb5, 0x2f, 0xfd, ..] => "(compressed)",
        < 400 when !content.AsSpan().ContainsAnyExceptInRange((byte)9, (byte)126) => JsonSerializer.Serialize(Encoding.ASCII.GetString(content), s_indented),
        _ => string.Create(CultureInfo.InvariantCulture, $"{content.Length} bytes {Digest.Sha256(content)}"),
    };

    /// <summary>The configuration with its members sorted, empty ones, times and digests left out.</summary>
    private static JsonObject Plain(byte[] config)
    {
        var root = JsonNode.Parse(config)!.AsObject();
        root.Remove("created");
        foreach (var entry in root["history"]?.AsArray() ?? [])
            entry!.AsObject().Remove("created");
        if (root["rootfs"]?["diff_ids"] is JsonArray ids)
            root["rootfs"]!["diff_ids"] = ids.Count;
        var text = PulledFrom().Replace(Sorted(root)!.ToJsonString(), "REGISTRY/${name}@DIGEST");
        return JsonNode.Parse(text)!.AsObject();
    }

    [GeneratedRegex(@"127\.0\.0\.1:\d+/(?<name>[a-z:]*)@sha256:[0-9a-f]{64}", RegexOptions.ExplicitCapture)]
    private static partial Regex PulledFrom();

    private static JsonNode? Sorted(JsonNode? node) => node switch
    {
        JsonObject o => new JsonObject(o.Where(m => m.Value is not null).OrderBy(m => m.Key, StringComparer.Ordinal).Select(m => KeyValuePair.Create(m.Key, Sorted(m.Value)))),
        JsonArray a => new JsonArray([.. a.Select(Sorted)]),
        _ => node?.DeepClone(),
    };
}
