using System.Formats.Tar;
using System.Text;
using System.Text.Json;

namespace BuildKit.IntegrationTests.EndToEnd.Exporters;

/// <summary>Reads what an exporter wrote into documents named as in the golden set <c>exporters</c>.</summary>
internal static class ExportedImage
{
    private const string InToto = "application/vnd.in-toto+json";

    /// <summary>An OCI or docker archive.</summary>
    internal static async Task ReadTarAsync(string path, Dictionary<string, byte[]> documents)
    {
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var listing = new StringBuilder();
        await using var stream = File.OpenRead(path);
        await using var reader = new TarReader(stream);
        while (await reader.GetNextEntryAsync(copyData: true) is { } entry)
        {
            var isDirectory = entry.EntryType == TarEntryType.Directory;
            listing.Append($"0o{Convert.ToString((int)entry.Mode, 8)} {(isDirectory ? "5" : "0")} {entry.Length} {entry.ModificationTime.ToUnixTimeSeconds()} {entry.Name.TrimEnd('/')}\n");
            if (isDirectory)
                continue;
            var bytes = new MemoryStream();
            if (entry.DataStream is { } data)
                await data.CopyToAsync(bytes);
            files[entry.Name] = bytes.ToArray();
        }
        documents["tar-listing.txt"] = Encoding.UTF8.GetBytes(listing.ToString());
        documents["oci-layout"] = files["oci-layout"];
        documents["layout-index.json"] = files["index.json"];
        if (files.TryGetValue("manifest.json", out var docker))
            documents["docker-manifest.json"] = docker;
        await AddAsync(Root(files["index.json"]), digest => Task.FromResult(files["blobs/sha256/" + digest["sha256:".Length..]]), documents);
    }

    /// <summary>An OCI layout in a directory.</summary>
    internal static async Task ReadDirectoryAsync(string path, Dictionary<string, byte[]> documents)
    {
        var index = await File.ReadAllBytesAsync(path + "/index.json");
        documents["index-after-named.json"] = index;
        var tree = Directory.GetFileSystemEntries(path, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(path, f)).Order(StringComparer.Ordinal);
        documents["tree.txt"] = Encoding.UTF8.GetBytes(string.Join('\n', tree));
        await AddAsync(Root(index), digest => File.ReadAllBytesAsync($"{path}/blobs/sha256/{digest["sha256:".Length..]}"), documents);
    }

    /// <summary>An image in an open registry.</summary>
    internal static async Task ReadRegistryAsync(string reference, Dictionary<string, byte[]> documents)
    {
        var slash = reference.IndexOf('/', StringComparison.Ordinal);
        var colon = reference.LastIndexOf(':');
        var (host, repository, tag) = (reference[..slash], reference[(slash + 1)..colon], reference[(colon + 1)..]);
        using var client = new HttpClient();
        string[] types =
        [
            "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
        ];
        client.DefaultRequestHeaders.TryAddWithoutValidation("Accept", string.Join(", ", types));
        await AddBytesAsync(await client.GetByteArrayAsync($"http://{host}/v2/{repository}/manifests/{tag}"), ReadAsync, documents);

        async Task<byte[]> ReadAsync(string digest)
        {
            using var manifest = await client.GetAsync($"http://{host}/v2/{repository}/manifests/{digest}");
            return manifest.IsSuccessStatusCode ? await manifest.Content.ReadAsByteArrayAsync() : await client.GetByteArrayAsync($"http://{host}/v2/{repository}/blobs/{digest}");
        }
    }

    private static string Root(byte[] layoutIndex)
    {
        using var json = JsonDocument.Parse(layoutIndex);
        return json.RootElement.GetProperty("manifests")[0].GetProperty("digest").GetString()!;
    }

    private static async Task AddAsync(string root, Func<string, Task<byte[]>> read, Dictionary<string, byte[]> documents) =>
        await AddBytesAsync(await read(root), read, documents);

    private static async Task AddBytesAsync(byte[] root, Func<string, Task<byte[]>> read, Dictionary<string, byte[]> documents)
    {
        using var json = JsonDocument.Parse(root);
        if (!json.RootElement.TryGetProperty("manifests", out var manifests))
        {
            await AddManifestAsync(root, "", read, documents);
            return;
        }
        documents["index.json"] = root;
        var number = 0;
        foreach (var manifest in manifests.EnumerateArray())
            await AddManifestAsync(await read(manifest.GetProperty("digest").GetString()!), $"-{number++}", read, documents);
    }

    private static async Task AddManifestAsync(byte[] bytes, string suffix, Func<string, Task<byte[]>> read, Dictionary<string, byte[]> documents)
    {
        documents[$"manifest{suffix}.json"] = bytes;
        using var json = JsonDocument.Parse(bytes);
        documents[$"config{suffix}.json"] = await read(json.RootElement.GetProperty("config").GetProperty("digest").GetString()!);
        var layers = json.RootElement.GetProperty("layers");
        for (var i = 0; layers.ValueKind == JsonValueKind.Array && i < layers.GetArrayLength(); i++)
        {
            if (layers[i].GetProperty("mediaType").GetString() == InToto)
                documents[$"layer{suffix}-{i}.json"] = await read(layers[i].GetProperty("digest").GetString()!);
        }
    }
}
