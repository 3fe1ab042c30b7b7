using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.EndToEnd.Exporters;

/// <summary>
/// The documents of one export in a form that two exports share: times of the build, random ids and digests of what holds them are
/// replaced by names. A document that holds nothing of that kind stays as it is, and so does its digest wherever it is named.
/// </summary>
internal sealed partial class ExportedDocuments
{
    private readonly Dictionary<string, byte[]> _documents;
    private readonly Dictionary<string, string> _comparable = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _names = new(StringComparer.Ordinal); // of digests, without the algorithm
    private readonly string _registry;
    private readonly bool _isIndexOnly;

    /// <param name="documents">Bytes by name.</param>
    /// <param name="isReproducible">Whether layers, once uncompressed, are the same in every build.</param>
    /// <param name="registry">Host and port of the registry that was used.</param>
    internal ExportedDocuments(Dictionary<string, byte[]> documents, bool isReproducible, string registry)
    {
        (_documents, IsReproducible, _registry) = (documents, isReproducible, registry);
        _isIndexOnly = !documents.Keys.Any(n => n == "index.json" || n.StartsWith("manifest", StringComparison.Ordinal));
        foreach (var name in documents.Keys.Order(StringComparer.Ordinal))
            NameLayers(name);
        var left = documents.Keys.Where(n => n.EndsWith(".json", StringComparison.Ordinal)).Order(StringComparer.Ordinal).ToList();
        while (left.Count > 0)
        {
            // One that names no other of those left.
            var next = left.First(n => left.All(other => other == n || !Text(n).Contains(Hex(other), StringComparison.Ordinal)));
            left.Remove(next);
            var comparable = Named(Text(next));
            _comparable[next] = comparable;
            if (comparable != Text(next))
                _names.TryAdd(Hex(next), $"@{next}@");
        }
        foreach (var name in documents.Keys.Except(_comparable.Keys))
            _comparable[name] = Listing(Named(Text(name)));
    }

    internal bool IsReproducible { get; }

    internal IEnumerable<string> Names => _documents.Keys.Order(StringComparer.Ordinal);

    internal string Comparable(string name) => _comparable[name];

    private string Text(string name) => Encoding.UTF8.GetString(_documents[name]);

    private string Hex(string name) => Digest.Sha256(_documents[name]).Hex;

    /// <summary>Compressed layers depend on the encoder, uncompressed ones may hold times.</summary>
    private void NameLayers(string document)
    {
        if (Suffix().Match(document) is not { Success: true } match)
            return;
        using var json = JsonDocument.Parse(_documents[document]);
        var suffix = match.Groups["suffix"].Value;
        if (match.Groups["kind"].Value == "manifest")
        {
            if (json.RootElement.TryGetProperty("layers", out var layers) && layers.ValueKind == JsonValueKind.Array)
            {
                for (var i = 0; i < layers.GetArrayLength(); i++)
                {
                    if (!layers[i].GetProperty("mediaType").GetString()!.Contains("in-toto", StringComparison.Ordinal))
                        _names.TryAdd(layers[i].GetProperty("digest").GetString()!["sha256:".Length..], $"@layer{suffix}-{i}@");
                }
            }
        }
        else if (!IsReproducible && json.RootElement.TryGetProperty("rootfs", out var root) && root.GetProperty("diff_ids") is { ValueKind: JsonValueKind.Array } diffIds)
        {
            for (var i = 0; i < diffIds.GetArrayLength(); i++)
                _names.TryAdd(diffIds[i].GetString()!["sha256:".Length..], $"@diff{suffix}-{i}@");
        }
    }

    private string Named(string text)
    {
        foreach (var (hex, name) in _names)
            text = text.Replace(hex, name, StringComparison.Ordinal);
        if (_isIndexOnly)
        {
            // What the digests stand for is not recorded; which of them are the same is.
            var seen = new List<string>();
            text = AnyDigest().Replace(text, m =>
            {
                if (!seen.Contains(m.Value))
                    seen.Add(m.Value);
                return $"@digest{seen.IndexOf(m.Value)}@";
            });
        }
        text = text.Replace(_registry, "@registry@", StringComparison.Ordinal).Replace(Uri.EscapeDataString(_registry), "@registry@", StringComparison.Ordinal);
        text = SizeOfNamed().Replace(text, "$1@size@");
        text = RecentTime().Replace(text, "\"@time@\"");
        text = InvocationId().Replace(text, "$1\"@id@\"");
        text = DigestMapping().Replace(text, m => m.Groups[1].Value + string.Join(',', Step().Matches(m.Value).Select(s => s.Value).Order(StringComparer.Ordinal)));
        return InlineCache().Replace(text, m => m.Groups[1].Value + Records(m.Groups[2].Value));
    }

    /// <summary>Sizes of what differs and the order of their digests are free.</summary>
    private string Listing(string text)
    {
        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => SizeOfFile().Replace(line, "$1@size@$2"));
        if (_isIndexOnly)
            lines = lines.Select(line => NumberOfDigest().Replace(line, "@digest@"));
        return string.Join('\n', lines.Order(StringComparer.Ordinal));
    }

    /// <summary>The records of an inline cache: their digests and what they point to.</summary>
    private static string Records(string base64)
    {
        var text = Encoding.UTF8.GetString(Convert.FromBase64String(base64));
        return RecentTime().Replace(text, "\"@time@\"");
    }

    [GeneratedRegex("^(?<kind>manifest|config)(?<suffix>(-[0-9]+)?)\\.json$")]
    private static partial Regex Suffix();

    [GeneratedRegex("(sha256:@[^@]+@\",\\s*\"size\":\\s*)[0-9]+")]
    private static partial Regex SizeOfNamed();

    /// <summary>Times of inputs are older.</summary>
    [GeneratedRegex("\"20(2[6-9]|[3-9][0-9])-[0-9-]+T[0-9:.]+Z\"")]
    private static partial Regex RecentTime();

    [GeneratedRegex("(\"buildInvocationID\":\\s*)\"[0-9a-z]{25}\"")]
    private static partial Regex InvocationId();

    [GeneratedRegex("(\"digestMapping\":)\\s*\\{[^}]*\\}")]
    private static partial Regex DigestMapping();

    [GeneratedRegex("step[0-9]+")]
    private static partial Regex Step();

    [GeneratedRegex("(\"moby\\.buildkit\\.cache\\.v0\":\")([A-Za-z0-9+/=]+)")]
    private static partial Regex InlineCache();

    [GeneratedRegex("[0-9a-f]{64}")]
    private static partial Regex AnyDigest();

    [GeneratedRegex("@digest[0-9]+@")]
    private static partial Regex NumberOfDigest();

    [GeneratedRegex("^(0o[0-7]+ 0 )[0-9]+( 0 (blobs/sha256/@.*|index\\.json|manifest\\.json))$")]
    private static partial Regex SizeOfFile();
}
