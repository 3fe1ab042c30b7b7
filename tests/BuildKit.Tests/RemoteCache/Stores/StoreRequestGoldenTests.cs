using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.Annotated;
using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Content;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>What our clients send to object stores, beside what the reference was recorded sending.</summary>
public sealed partial class StoreRequestGoldenTests
{
    // Recordings of the gha cache have no times.
    private static readonly DateTimeOffset Now = new(2026, 11, 21, 0, 0, 0, TimeSpan.Zero);

    private static readonly string[] Types = ["s3", "azblob", "gha-v1", "gha-v2"];

    /// <summary>Every recorded exchange of a store this test knows, by type and file.</summary>
    public static TheoryData<string, string> Recordings()
    {
        var data = new TheoryData<string, string>();
        var index = Golden.Path("cache", "index.json");
        if (!File.Exists(index))
            return data;
        using var document = JsonDocument.Parse(File.ReadAllBytes(index));
        foreach (var path in document.RootElement.GetProperty("entries").EnumerateArray().Select(e => e.GetProperty("path").GetString()!))
        {
            var at = path.LastIndexOf("/http-", StringComparison.Ordinal);
            if (at < 0 || !Types.Contains(path[(at + 6)..], StringComparer.Ordinal))
                continue;
            foreach (var file in Directory.GetFiles(Golden.Path("cache", path), "*.jsonl").Order(StringComparer.Ordinal))
                data.Add(path[(at + 6)..], Path.GetRelativePath(Golden.Path("cache"), file));
        }
        return data;
    }

    [GoldenTheory]
    [MemberData(nameof(Recordings))]
    public async Task Requests_are_those_of_the_reference_or_fewer(string type, string file)
    {
        var recorded = ReplayServer.Read(Golden.Path("cache", file));
        var isImport = Path.GetFileName(file) == "import.jsonl";
        var config = CacheConfig.Parse(Encoding.UTF8.GetBytes(isImport
            ? recorded.First(e => e.Text?.StartsWith("{\"layers\"", StringComparison.Ordinal) == true).Text!
            : recorded.First(e => e.Request.Body.StartsWith("{\"layers\"", StringComparison.Ordinal)).Request.Body));
        var sizes = config.Layers.DistinctBy(l => l.Blob).ToDictionary(l => l.Blob.Hex, l => l.Annotations!.Size);
        var objects = new ObjectNames(recorded);
        await using var server = await ReplayServer.StartAsync(recorded, target => sizes[sizes.Keys.Single(hex => objects.Of(target).Contains(hex, StringComparison.Ordinal))]);
        var context = new CacheBackendContext
        {
            Registry = new RegistryClient(new RegistryConfig()),
            Credentials = StaticRegistryCredentials.Anonymous,
            OpenClientStore = (_, _) => throw new NotSupportedException(),
            Time = new ClockOfRecording(recorded[0].Date.Length > 0 ? Parse(recorded[0].Date) : Now),
            Environment = _ => null,
        };
        var attributes = AttributesOf(type, [.. recorded.Select(e => e.Request)], server.Host);
        type = type.Split('-')[0];
        var registry = CacheBackendRegistry.WithBuiltIns();
        var progress = new CacheProgress(new SilentProgress(), TimeProvider.System);
        if (isImport)
        {
            var import = await registry.ResolveImporterAsync(type, attributes, context, default);
            var graph = (await import.ReadAsync(progress, default))[0];
            var layers = graph.SelectMany(n => n.Results).SelectMany(r => r.Layers.Descriptors.Select(d => (d, r.Layers.Provider))).DistinctBy(p => p.d.Digest).ToList();
            Assert.Equal(sizes.Count, layers.Count);
            // The reference asked for these blobs and then read them.
            foreach (var (descriptor, provider) in layers.Where(l => recorded.Any(e => objects.Of(e.Request).Contains(l.d.Digest.Hex, StringComparison.Ordinal))))
            {
                Assert.NotNull(await provider.StatAsync(descriptor, default));
                await using var blob = await provider.OpenAsync(descriptor, 0, default);
                using var copy = new MemoryStream();
                await blob.CopyToAsync(copy);
                Assert.Equal(descriptor.Size, copy.Length);
            }
        }
        else
        {
            var export = await registry.ResolveExporterAsync(type, attributes, context, default);
            var blobs = AnnotatedCache.BlobsOf(config, new Zeros());
            var cache = new MarshalledCache(config with { Layers = [.. config.Layers.Select(l => l with { Annotations = null })] }, blobs);
            Assert.Empty(await export.WriteAsync(cache, progress, default));
        }
        Compare([.. recorded.Select(e => e.Request)], [.. server.Seen], isImport, objects);
    }

    /// <summary>The attributes the recorded requests were made with, as their paths tell.</summary>
    private static Dictionary<string, string> AttributesOf(string type, IReadOnlyList<WireRequest> recorded, string host)
    {
        if (type.StartsWith("gha", StringComparison.Ordinal))
            return ActionsAttributes(type, recorded, host);
        var keys = recorded.Where(r => !IsContainer(r)).Select(r => Uri.UnescapeDataString(r.Path)).ToList();
        var container = type == "s3" ? "/" + keys[0].Split('/')[1] : recorded.First(IsContainer).Path;
        var prefix = keys[0][(container.Length + 1)..];
        prefix = prefix[..Math.Max(prefix.IndexOf("blobs/", StringComparison.Ordinal), prefix.IndexOf("manifests/", StringComparison.Ordinal))];
        var manifests = $"{container}/{prefix}manifests/";
        var names = string.Join(';', keys.Where(k => k.StartsWith(manifests, StringComparison.Ordinal)).Select(k => k[manifests.Length..]).Distinct().Order(StringComparer.Ordinal));
        var attributes = new Dictionary<string, string>(StringComparer.Ordinal) { ["name"] = names, ["prefix"] = prefix };
        if (type == "s3")
        {
            (attributes["endpoint_url"], attributes["use_path_style"], attributes["bucket"], attributes["region"]) = ($"http://{host}", "true", container[1..], "us-east-1");
            (attributes["access_key_id"], attributes["secret_access_key"]) = ("AKIDEXAMPLE", "secret");
            // Recorded was an object two hours old.
            if (recorded.Any(r => r.Target.EndsWith("x-id=CopyObject", StringComparison.Ordinal)))
                attributes["touch_refresh"] = "1h";
        }
        else
        {
            var slash = container.LastIndexOf('/');
            (attributes["account_url"], attributes["container"]) = ($"http://{host}{container[..slash]}", container[(slash + 1)..]);
            (attributes["account_name"], attributes["secret_access_key"]) = ("acct", "c2VjcmV0");
        }
        return attributes;
    }

    private static Dictionary<string, string> ActionsAttributes(string type, IReadOnlyList<WireRequest> recorded, string host)
    {
        var index = recorded.Select(r => IndexName().Match(Uri.UnescapeDataString(r.Target) + r.Body)).First(m => m.Success);
        return new(StringComparer.Ordinal)
        {
            [type == "gha-v1" ? "url" : "url_v2"] = $"http://{host}/{recorded[0].Path.Split('/')[1]}/",
            ["scope"] = index.Groups[1].Value,
            ["token"] = StoreKit.Token(Now, ("refs/heads/main", 1), ("refs/heads/feature", 3)),
        };
    }

    private static void Compare(IReadOnlyList<WireRequest> theirs, IReadOnlyList<WireRequest> ours, bool isImport, ObjectNames objects)
    {
        bool IsManifest(WireRequest request) => objects.Of(request) is var name && (name.Contains("manifests", StringComparison.Ordinal) || name.StartsWith("index-", StringComparison.Ordinal));
        var spare = theirs.GroupBy(r => r).ToDictionary(g => g.Key, g => g.Count());
        foreach (var request in ours)
        {
            Assert.True(spare.TryGetValue(request, out var left) && left > 0, $"the reference does not send\n{request}\nbut\n{string.Join('\n', theirs.Where(r => r.Path == request.Path))}");
            spare[request] = left - 1;
        }
        // Nothing that changes the store is left out.
        Assert.Equal(theirs.Where(r => r.IsWrite).Distinct().Select(r => r.ToString()).Order(StringComparer.Ordinal), ours.Where(r => r.IsWrite).Select(r => r.ToString()).Order(StringComparer.Ordinal));
        // Of one object the order is the reference's.
        foreach (var name in ours.Select(objects.Of).Distinct())
        {
            var order = theirs.Where(r => objects.Of(r) == name).ToList();
            var at = -1;
            foreach (var request in ours.Where(r => objects.Of(r) == name).Where(r => !r.Target.Contains("partNumber", StringComparison.Ordinal) && !r.Target.Contains("comp=block&", StringComparison.Ordinal)))
            {
                at = order.IndexOf(request, at + 1);
                Assert.True(at >= 0, $"{request} is out of order");
            }
        }
        // The container first, the config when all layers are there.
        Assert.Equal(theirs.TakeWhile(IsContainer), ours.TakeWhile(IsContainer));
        Assert.DoesNotContain(ours.SkipWhile(IsContainer), IsContainer);
        if (!isImport)
        {
            Assert.Equal(theirs.Where(IsManifest), ours.Where(IsManifest));
            Assert.DoesNotContain(ours.SkipWhile(r => !IsManifest(r)), r => !IsManifest(r));
        }
    }

    private static bool IsContainer(WireRequest request) => request.Target.EndsWith("?restype=container", StringComparison.Ordinal);

    private static DateTimeOffset Parse(string date) => date.EndsWith("GMT", StringComparison.Ordinal)
        ? DateTimeOffset.Parse(date, CultureInfo.InvariantCulture)
        : DateTimeOffset.ParseExact(date, "yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);

    [GeneratedRegex("index-(.*?)-1-[0-9a-f]{8}")]
    private static partial Regex IndexName();

    /// <summary>Which object a request is about: its path, or in the cache service the key that its address was given for.</summary>
    private sealed partial class ObjectNames(IReadOnlyList<WireExchange> recorded)
    {
        private readonly Dictionary<string, string> _keys = recorded
            .Select(e => (Key: KeyOf(e.Request), Target: e.Text is null ? null : Address().Match(e.Text) is { Success: true } m ? m.Groups[1].Value : null, e))
            .Where(a => a.Key is not null && a.Target is not null)
            .Select(a => (Path: a.Target!.All(char.IsAsciiDigit) ? $"{a.e.Request.Path}/{a.Target}" : new Uri(a.Target!).AbsolutePath, a.Key))
            .DistinctBy(a => a.Path).ToDictionary(a => a.Path, a => a.Key!, StringComparer.Ordinal);

        public string Of(WireRequest request) => KeyOf(request) ?? Of(request.Target);

        public string Of(string target) => _keys.GetValueOrDefault(target.Split('?')[0]) ?? target.Split('?')[0];

        /// <summary>The key without its number: all versions of an index are one object.</summary>
        private static string? KeyOf(WireRequest request) => Key().Match(Uri.UnescapeDataString(request.Target)) is { Success: true } inQuery ? inQuery.Groups[1].Value
            : request.Body.StartsWith("{\"key\"", StringComparison.Ordinal) && Key().Match(request.Body) is { Success: true } inBody ? inBody.Groups[1].Value
            : null;

        [GeneratedRegex("(?:keys=|\"key\":\")([^&#\"]+)")]
        private static partial Regex Key();

        [GeneratedRegex("\"(?:cacheId|archiveLocation|signed_upload_url|signed_download_url)\": ?\"?([^\",}]+)")]
        private static partial Regex Address();
    }

    private sealed class ClockOfRecording(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }

    /// <summary>Blobs of which only the size is recorded.</summary>
    private sealed class Zeros : IBlobProvider
    {
        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            ValueTask.FromResult<Stream>(new MemoryStream(new byte[descriptor.Size - offset]));

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
