using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Xml.Linq;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>A place for one cache: how a build names it, and what lies there afterwards.</summary>
internal abstract class CacheStore
{
    /// <summary>Value of <c>--import-cache</c>.</summary>
    public abstract string Import { get; }

    /// <summary>Value of <c>--export-cache</c> without options.</summary>
    protected virtual string Export => Import;

    /// <summary>Arguments of a build that export to it.</summary>
    /// <param name="mode"><c>min</c> or <c>max</c>.</param>
    /// <param name="options">More attributes, each with a comma in front.</param>
    public virtual string[] Exporting(string mode, string options) => ["--export-cache", $"{Export},mode={mode}{options}"];

    /// <summary>What lies there.</summary>
    public abstract Task<StoredCache> ReadAsync();

    /// <summary>The layers that lie there, checked.</summary>
    public async Task<IReadOnlyList<StoredLayer>> VerifyAsync() => await (await ReadAsync()).VerifyAsync();

    /// <summary>What a config says of its layers where no manifest does.</summary>
    protected static IReadOnlyList<Descriptor> LayersOf(byte[] config)
    {
        using var json = JsonDocument.Parse(config);
        return [.. json.RootElement.GetProperty("layers").EnumerateArray().Select(DescriptorOf).DistinctBy(l => l.Digest)];

        static Descriptor DescriptorOf(JsonElement layer)
        {
            var known = layer.GetProperty("annotations");
            var annotations = known.EnumerateObject().Where(p => p.Name.Contains('.', StringComparison.Ordinal)) // the others are the format's own
                .ToDictionary(p => p.Name, p => p.Value.GetString()!, StringComparer.Ordinal);
            annotations["containerd.io/uncompressed"] = known.GetProperty("diffID").GetString()!;
            return new Descriptor(known.GetProperty("mediaType").GetString()!, Digest.Parse(layer.GetProperty("blob").GetString()!), known.GetProperty("size").GetInt64()) { Annotations = annotations };
        }
    }

    /// <summary>A cache among blobs with a document at the top.</summary>
    protected static StoredCache Read(byte[] root, IReadOnlyDictionary<Digest, byte[]> blobs)
    {
        var (_, layers, _) = GoldenCache.ReadManifest(root, digest => blobs[digest]);
        using var json = JsonDocument.Parse(root);
        return new StoredCache(
            json.RootElement.GetProperty("mediaType").GetString()!,
            [.. layers.DistinctBy(l => l.Digest)],
            blobs.Where(b => b.Value[0] != (byte)'{').ToDictionary(b => b.Key, b => b.Value)); // the others are documents
    }
}

/// <summary>A repository of a registry, read from the registry's directory whatever it asks of its clients.</summary>
internal class RegistryStore(DockerRegistry registry, string name) : CacheStore
{
    /// <summary>The reference.</summary>
    public string Reference { get; } = $"{registry.Host}/{name}:v1";

    public override string Import => $"type=registry,ref={Reference}";

    /// <summary>The document at the tag, as stored.</summary>
    public async Task<byte[]> ReadRootAsync() =>
        await File.ReadAllBytesAsync(registry.BlobPath(await File.ReadAllTextAsync($"{Repository}/_manifests/tags/v1/current/link")));

    public override async Task<StoredCache> ReadAsync()
    {
        var blobs = new Dictionary<Digest, byte[]>();
        foreach (var link in Directory.EnumerateDirectories($"{Repository}/_layers/sha256"))
        {
            var digest = Digest.Parse("sha256:" + Path.GetFileName(link));
            blobs[digest] = await File.ReadAllBytesAsync(registry.BlobPath(digest.ToString()));
        }
        return Read(await ReadRootAsync(), blobs);
    }

    private string Repository => $"{registry.StoragePath}/docker/registry/v2/repositories/{name}";
}

/// <summary>Inside an image that is pushed. It has the layers of the result whatever the mode.</summary>
internal sealed class InlineStore(DockerRegistry registry, string name) : RegistryStore(registry, name)
{
    public override string[] Exporting(string mode, string options) =>
        ["--export-cache", "type=inline", "--output", $"type=image,name={Reference},push=true,oci-mediatypes=true{options}"];
}

/// <summary>A directory of the client.</summary>
internal sealed class LocalStore(string directory) : CacheStore
{
    /// <summary>The directory.</summary>
    public string Directory => directory;

    public override string Import => $"type=local,src={directory}";

    protected override string Export => $"type=local,dest={directory}";

    /// <summary>The document its index leads to.</summary>
    public async Task<byte[]> ReadRootAsync() => await File.ReadAllBytesAsync(
        $"{directory}/blobs/sha256/{Assert.Single(ImageIndex.Parse(await File.ReadAllBytesAsync($"{directory}/index.json")).Manifests).Digest.Hex}");

    public override async Task<StoredCache> ReadAsync()
    {
        var blobs = System.IO.Directory.EnumerateFiles($"{directory}/blobs/sha256").ToDictionary(f => Digest.Parse("sha256:" + Path.GetFileName(f)), File.ReadAllBytes);
        return Read(await ReadRootAsync(), blobs);
    }
}

/// <summary>A prefix of a bucket, read from the server's directory.</summary>
internal sealed class S3Store(ObjectStore server, string prefix) : CacheStore
{
    public override string Import =>
        $"type=s3,endpoint_url=http://{server.Host},use_path_style=true,bucket=bkt,region=us-east-1,access_key_id=S3RVER,secret_access_key=S3RVER,prefix={prefix}/";

    public override Task<StoredCache> ReadAsync()
    {
        var blobs = server.ReadObjects($"{prefix}/blobs/").ToDictionary(o => Digest.Parse(o.Key), o => o.Value);
        return Task.FromResult(new StoredCache("", LayersOf(Assert.Single(server.ReadObjects($"{prefix}/manifests/")).Value), blobs));
    }
}

/// <summary>A prefix of a container, read with an access signature of the test's own.</summary>
internal sealed class AzureStore(ObjectStore server, string prefix) : CacheStore
{
    private const string Container = "buildkit-cache";

    public override string Import =>
        $"type=azblob,account_url=http://{server.Host}/{ObjectStore.AzureAccount},account_name={ObjectStore.AzureAccount},secret_access_key={ObjectStore.AzureKey},prefix={prefix}";

    public override async Task<StoredCache> ReadAsync()
    {
        var objects = await ReadObjectsAsync(server, Container, prefix + "/");
        return new StoredCache(
            "",
            LayersOf(Assert.Single(objects, o => o.Key.StartsWith("manifests/", StringComparison.Ordinal)).Value),
            objects.Where(o => o.Key.StartsWith("blobs/", StringComparison.Ordinal)).ToDictionary(o => Digest.Parse(o.Key["blobs/".Length..]), o => o.Value));
    }

    /// <summary>All blobs of a container below a prefix, by the rest of their names.</summary>
    public static async Task<Dictionary<string, byte[]>> ReadObjectsAsync(ObjectStore server, string container, string prefix)
    {
        const string version = "2019-12-12";
        var expiry = DateTimeOffset.UtcNow.AddHours(1).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        var text = $"{ObjectStore.AzureAccount}\nrl\nb\nco\n\n{expiry}\n\nhttps,http\n{version}\n";
        var signature = Convert.ToBase64String(HMACSHA256.HashData(Convert.FromBase64String(ObjectStore.AzureKey), Encoding.UTF8.GetBytes(text)));
        var query = $"sv={version}&ss=b&srt=co&sp=rl&se={Uri.EscapeDataString(expiry)}&spr=https,http&sig={Uri.EscapeDataString(signature)}";
        using var client = new HttpClient { BaseAddress = new Uri($"http://{server.Host}/{ObjectStore.AzureAccount}/{container}") };
        var list = XDocument.Parse(await client.GetStringAsync($"?restype=container&comp=list&prefix={Uri.EscapeDataString(prefix)}&{query}"));
        var objects = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var name in list.Descendants("Blob").Select(b => b.Element("Name")!.Value))
            objects[name[prefix.Length..]] = await client.GetByteArrayAsync($"{client.BaseAddress}/{Uri.EscapeDataString(name)}?{query}");
        return objects;
    }
}

/// <summary>A scope of GitHub's cache service, by one version of its protocol. Layers are shared by all scopes: what a store
/// begins with is an empty service.</summary>
internal sealed class ActionsStore : CacheStore
{
    private const string BlobKey = "buildkit-blob-1-";

    private readonly ActionsService _service;
    private readonly int _version;
    private readonly string _scope;
    private readonly string _token;

    public ActionsStore(ActionsService service, int version, string scope)
    {
        (_service, _version, _scope) = (service, version, scope);
        _token = service.IssueToken(("refs/heads/main", 3));
    }

    public override string Import => $"type=gha,scope={_scope},token={_token},version={_version},{(_version == 1 ? "url" : "url_v2")}=http://{_service.Host}/";

    public override Task<StoredCache> ReadAsync()
    {
        var index = _service.Newest(key => key.StartsWith($"index-{_scope}-", StringComparison.Ordinal))!;
        var blobs = _service.Entries.Select(e => e.Split(' ')[1]).Where(key => key.StartsWith(BlobKey, StringComparison.Ordinal)).Distinct()
            .ToDictionary(key => Digest.Parse(key[BlobKey.Length..]), key => _service.Newest(k => k == key)!);
        return Task.FromResult(new StoredCache("", LayersOf(index), blobs));
    }
}
