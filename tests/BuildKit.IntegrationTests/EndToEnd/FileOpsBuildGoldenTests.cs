using System.Formats.Tar;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.FileOps;
using BuildKit.IntegrationTests.Support;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>The golden set <c>fileops</c> as whole builds: each Dockerfile or definition leaves on disk what the reference leaves.</summary>
public sealed class FileOpsBuildGoldenTests(FileOpsFixture fixture) : IClassFixture<FileOpsFixture>
{
    /// <summary>Where the recorded definitions download from.</summary>
    private const string RecordedHttp = "http://127.0.0.1:18765";

    /// <summary>The cases of a kind.</summary>
    public static TheoryData<string> Cases(string kind) => Golden.Index("fileops", "cases")
        .Where(c => c.GetProperty("kind").GetString() == kind)
        .Names();

    [EndToEndGoldenTheory]
    [MemberData(nameof(Cases), "dockerfile")]
    public Task A_dockerfile_leaves_what_the_reference_leaves(string name) => CheckAsync(name);

    [EndToEndGoldenTheory]
    [MemberData(nameof(Cases), "llb")]
    public Task A_definition_leaves_what_the_reference_leaves(string name) => CheckAsync(name);

    private static string CaseFile(string name) => Golden.Path("fileops", "cases", name + ".json");

    private async Task CheckAsync(string name)
    {
        var text = (await File.ReadAllTextAsync(CaseFile(name))).Replace("@HTTP@", fixture.Http + "/" + name, StringComparison.Ordinal);
        using var json = JsonDocument.Parse(text);
        var golden = json.RootElement;
        var expected = golden.GetProperty("expected");
        if (golden.TryGetProperty("http", out var http))
            fixture.Serve(name, http);
        using var temp = new TempDirectory();
        var arguments = new List<string> { "build", "--progress=plain" };
        byte[]? input = null;
        if (golden.TryGetProperty("definition", out var definition))
            input = Redirected(definition.GetBytesFromBase64(), $"{fixture.Http}/{name}");
        else
        {
            await File.WriteAllTextAsync(Path.Combine(temp.Sub("dockerfile"), "Dockerfile"), golden.GetProperty("dockerfile").GetString());
            // The labs frontend is reached by the name of its image.
            string[] frontend = golden.GetProperty("channel").GetString() == "labs" ? ["--frontend", "gateway.v0", "--opt", "source=docker/dockerfile:labs"] : ["--frontend", "dockerfile.v0"];
            arguments.AddRange([.. frontend, "--local", $"dockerfile={temp.Path}/dockerfile"]);
            if (golden.TryGetProperty("base", out var image) && image.GetString() == "busybox")
                arguments.AddRange(["--opt", $"context:busybox-base=docker-image://{fixture.Image}"]);
        }
        var contexts = golden.TryGetProperty("contexts", out var given) ? given.EnumerateObject().ToDictionary(c => c.Name, c => (JsonElement?)c.Value, StringComparer.Ordinal) : [];
        contexts.TryAdd("context", null);
        foreach (var (local, entries) in contexts)
        {
            var directory = temp.Sub("local-" + local);
            if (entries is { } list)
                FileOpsTree.Create(directory, list);
            arguments.AddRange(["--local", $"{local}={directory}"]);
        }
        if (golden.TryGetProperty("opts", out var opts))
        {
            foreach (var opt in opts.EnumerateObject())
                arguments.AddRange(["--opt", $"{opt.Name}={opt.Value.GetString()}"]);
        }
        if (golden.TryGetProperty("secrets", out var secrets))
        {
            var directory = temp.Sub("secrets");
            foreach (var secret in secrets.EnumerateObject())
            {
                await File.WriteAllTextAsync(Path.Combine(directory, secret.Name), secret.Value.GetString());
                arguments.AddRange(["--secret", $"id={secret.Name},src={directory}/{secret.Name}"]);
            }
        }
        arguments.AddRange(["--output", $"type=tar,dest={temp.Path}/t.tar", "--output", $"type=oci,compression=uncompressed,force-compression=true,tar=false,dest={temp.Path}/o"]);
        var result = await fixture.Client.RunAsync(arguments, input);
        await fixture.Client.PruneAllAsync(); // no case sees cached results or a context of another
        if (expected.TryGetProperty("error", out var error))
        {
            result.Failed();
            var expectedMessage = Regex.Escape(error.GetProperty("message").GetString()!).Replace("@REF@", "[0-9a-z]{25}", StringComparison.Ordinal).Replace("@ROOT@", @"/\S*?", StringComparison.Ordinal);
            Assert.Matches($"^{expectedMessage}$", result.Errors[(result.Errors.LastIndexOf("error: ", StringComparison.Ordinal) + "error: ".Length)..].Split('\n')[0]);
            foreach (var source in error.GetProperty("sources").EnumerateArray())
            {
                foreach (var range in source.GetProperty("ranges").EnumerateArray())
                    Assert.Matches($@"(?m)^ *{range.GetProperty("start")[0].GetInt32()} \| >>> ", result.Errors);
            }
            return;
        }
        result.Succeeded();
        var omitted = expected.TryGetProperty("treeOmits", out var omits) ? omits.EnumerateArray().Select(o => o.GetString()!).ToList() : [];
        var tree = expected.GetProperty("tree");
        Assert.Equal(Expected(tree, isLayer: false), Actual(await File.ReadAllBytesAsync($"{temp.Path}/t.tar"), tree, omitted, isLayer: false));
        await AssertImageAsync($"{temp.Path}/o", expected);
    }

    /// <summary>The definition with downloads from another server: operations are made again, inputs follow their digests.</summary>
    private static byte[] Redirected(byte[] recorded, string server)
    {
        var definition = Definition.Parser.ParseFrom(recorded);
        var digests = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < definition.Def.Count; i++)
        {
            var before = Digest.Sha256(definition.Def[i].Span).ToString();
            var op = Op.Parser.ParseFrom(definition.Def[i]);
            var isChanged = op.Source?.Identifier.StartsWith(RecordedHttp, StringComparison.Ordinal) == true;
            if (isChanged)
                op.Source!.Identifier = server + op.Source.Identifier[RecordedHttp.Length..];
            foreach (var from in op.Inputs.Where(from => digests.ContainsKey(from.Digest)))
                (from.Digest, isChanged) = (digests[from.Digest], true);
            if (!isChanged)
                continue;
            definition.Def[i] = ByteString.CopyFrom(CanonicalOp.Encode(op));
            digests[before] = Digest.Sha256(definition.Def[i].Span).ToString();
            if (definition.Metadata.Remove(before, out var metadata))
                definition.Metadata[digests[before]] = metadata;
        }
        return definition.ToByteArray();
    }

    /// <summary>Layers entry by entry, and the image's config.</summary>
    private async Task AssertImageAsync(string layout, JsonElement expected)
    {
        using var index = JsonDocument.Parse(await File.ReadAllBytesAsync(layout + "/index.json"));
        using var manifest = JsonDocument.Parse(await BlobAsync(index.RootElement.GetProperty("manifests")[0]));
        if (expected.TryGetProperty("layers", out var layers))
        {
            var actual = manifest.RootElement.GetProperty("layers") is { ValueKind: JsonValueKind.Array } list ? list.EnumerateArray().ToList() : [];
            Assert.Equal(layers.GetArrayLength(), actual.Count);
            foreach (var (layer, descriptor) in layers.EnumerateArray().Zip(actual))
            {
                if (layer.ValueKind == JsonValueKind.String)
                    Assert.Equal($"@BASE@ {fixture.BaseDiffId}", $"{layer.GetString()} {descriptor.GetProperty("digest").GetString()}");
                else
                    Assert.Equal(Expected(layer, isLayer: true), Actual(await BlobAsync(descriptor), layer, [], isLayer: true));
            }
        }
        if (!expected.TryGetProperty("config", out var config))
            return;
        var found = JsonNode.Parse(Regex.Replace(Encoding.UTF8.GetString(await BlobAsync(manifest.RootElement.GetProperty("config"))), "\"20(2[6-9]|[3-9][0-9])-[0-9-]+T[0-9:.]+Z\"", "\"@TIME@\""))!;
        if (found["rootfs"]?["diff_ids"] is JsonArray diffIds)
        {
            var known = config.GetProperty("rootfs").GetProperty("diff_ids");
            for (var i = 0; i < diffIds.Count && i < known.GetArrayLength(); i++)
            {
                if (known[i].GetString() == "@DIFFID@" || (known[i].GetString() == "@BASE@" && diffIds[i]!.GetValue<string>() == fixture.BaseDiffId))
                    diffIds[i] = known[i].GetString();
            }
        }
        // The recorded builds had their base from an OCI layout, which keeps its time; one from a registry is as old as the build.
        if (config.GetProperty("rootfs").GetProperty("diff_ids") is { ValueKind: JsonValueKind.Array } ids && ids.EnumerateArray().Any(id => id.GetString() == "@BASE@"))
            found["created"] = config.GetProperty("created").GetString();
        Assert.Equal(JsonNode.Parse(config.GetRawText())!.ToJsonString(), found.ToJsonString());

        Task<byte[]> BlobAsync(JsonElement descriptor) => File.ReadAllBytesAsync($"{layout}/blobs/sha256/{descriptor.GetProperty("digest").GetString()!["sha256:".Length..]}");
    }

    private static List<string> Expected(JsonElement entries, bool isLayer)
    {
        var lines = new List<string>();
        foreach (var e in entries.EnumerateArray())
        {
            var mtime = Mtime(e) == "epoch" ? "0" : isLayer ? Mtime(e).Split('.')[0] : Rounded(Mtime(e));
            var body = e.TryGetProperty("target", out var target) ? target.GetString() : e.TryGetProperty("device", out var device) ? device.GetString()
                : isLayer && e.TryGetProperty("size", out var size) ? size.GetRawText() : e.TryGetProperty("sha256", out var sha) ? sha.GetString() : "";
            var xattrs = e.TryGetProperty("xattrs", out var x) ? string.Join(' ', x.EnumerateObject().Select(a => $"{a.Name}={a.Value.GetString()}")) : "";
            lines.Add(Line(e.GetProperty("path").GetString()!, e.GetProperty("type").GetString()!, e.GetProperty("mode").GetString()!, e.GetProperty("uid").GetInt64(), e.GetProperty("gid").GetInt64(), mtime, body, e.TryGetProperty("hardlinkOf", out var h) ? h.GetString()! : "", xattrs));
        }
        return lines;
    }

    private static string Mtime(JsonElement entry) => entry.GetProperty("mtime").ValueKind == JsonValueKind.String ? entry.GetProperty("mtime").GetString()! : entry.GetProperty("mtime").GetRawText();

    private List<string> Actual(byte[] tar, JsonElement expected, List<string> omitted, bool isLayer)
    {
        var built = expected.EnumerateArray().Where(e => Mtime(e) == "build").Select(e => e.GetProperty("path").GetString()!).ToHashSet(StringComparer.Ordinal);
        var lines = new List<string>();
        var sums = new Dictionary<string, string>(StringComparer.Ordinal);
        using var reader = new TarReader(new MemoryStream(tar));
        while (reader.GetNextEntry(copyData: true) is { } entry)
        {
            var path = entry.Name.TrimEnd('/');
            if (path is "." or "" || omitted.Any(o => path == o || path.StartsWith(o + "/", StringComparison.Ordinal)))
                continue;
            var isHardlink = entry.EntryType == TarEntryType.HardLink;
            if (entry.EntryType is TarEntryType.RegularFile or TarEntryType.V7RegularFile)
                sums[path] = isLayer ? entry.Length.ToString(CultureInfo.InvariantCulture) : Sum(entry);
            var (type, body) = entry.EntryType switch
            {
                TarEntryType.Directory => ("dir", ""),
                TarEntryType.SymbolicLink => ("symlink", entry.LinkName),
                TarEntryType.HardLink => ("file", sums.GetValueOrDefault(entry.LinkName, "")),
                TarEntryType.Fifo => ("fifo", ""),
                TarEntryType.CharacterDevice => ("chardev", Device(entry)),
                TarEntryType.BlockDevice => ("blockdev", Device(entry)),
                _ => ("file", sums[path]),
            };
            var attributes = entry is PaxTarEntry pax ? pax.ExtendedAttributes.Where(a => a.Key.StartsWith("SCHILY.xattr.", StringComparison.Ordinal) && !a.Key.Contains("overlay", StringComparison.Ordinal)) : [];
            var xattrs = string.Join(' ', attributes.OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => $"{a.Key["SCHILY.xattr.".Length..]}={Convert.ToBase64String(Encoding.UTF8.GetBytes(a.Value))}"));
            lines.Add(Line(path, type, Convert.ToString((int)entry.Mode, 8).PadLeft(4, '0'), entry.Uid, entry.Gid, built.Contains(path) ? "build" : entry.ModificationTime.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture), body, isHardlink ? entry.LinkName : "", xattrs));
        }
        return lines;

        static string Device(TarEntry entry) => entry is PosixTarEntry posix ? $"{posix.DeviceMajor}:{posix.DeviceMinor}" : "";

        string Sum(TarEntry entry)
        {
            var bytes = new MemoryStream();
            entry.DataStream?.CopyTo(bytes);
            var sum = Convert.ToHexStringLower(SHA256.HashData(bytes.ToArray()));
            return sum == fixture.BusyboxSum ? "@BUSYBOX@" : sum;
        }
    }

    private static string Rounded(string mtime) => mtime.Contains('.', StringComparison.Ordinal) ? decimal.Round(decimal.Parse(mtime, CultureInfo.InvariantCulture), MidpointRounding.AwayFromZero).ToString(CultureInfo.InvariantCulture) : mtime;

    private static string Line(string path, string type, string mode, long uid, long gid, string mtime, string? body, string link, string xattrs) => $"{path}|{type}|{mode}|{uid}:{gid}|{mtime}|{body}|{link}|{xattrs}";
}

/// <summary>A daemon, the base image of the set and a server for what a case downloads.</summary>
public sealed class FileOpsFixture : IAsyncLifetime
{
    private readonly Dictionary<string, JsonElement> _served = new(StringComparer.Ordinal);
    private WebApplication? _server;
    private DockerRegistry? _registry;

    public DaemonProcess Daemon { get; private set; } = null!;

    public Buildctl Client { get; private set; } = null!;

    public string Http { get; private set; } = "";

    public string Image { get; private set; } = "";

    public string BusyboxSum { get; private set; } = "";

    /// <summary>Digest of the base image's only layer, uncompressed.</summary>
    public string BaseDiffId { get; private set; } = "";

    public void Serve(string name, JsonElement routes)
    {
        lock (_served)
            _served[name] = routes.Clone();
    }

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(BuildFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        var busybox = await File.ReadAllBytesAsync("/bin/busybox");
        BusyboxSum = Convert.ToHexStringLower(SHA256.HashData(busybox));
        _registry = await DockerRegistry.StartAsync();
        Image = $"{_registry.Host}/busybox-base:latest";
        if (!File.Exists(Golden.Path("fileops", "bases.json")))
            return; // the set is not there: no test of the class runs
        var image = Golden.Json("fileops", "bases.json").GetProperty("busybox");
        var layer = Layer(image.GetProperty("layer"), busybox);
        BaseDiffId = Digest.Sha256(layer).ToString();
        await BaseImage.PushAsync(_registry, "busybox-base:latest", layer, configJson: image.GetProperty("config").GetRawText());
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        _server = builder.Build();
        _server.Run(AnswerAsync);
        await _server.StartAsync();
        Http = _server.Urls.First();
        Daemon = await DaemonProcess.StartAsync();
        Client = new Buildctl(Daemon.Address);
    }

    public async Task DisposeAsync()
    {
        if (Daemon is not null)
            await Daemon.DisposeAsync();
        if (_server is not null)
            await _server.DisposeAsync();
        if (_registry is not null)
            await _registry.DisposeAsync();
    }

    private static byte[] Layer(JsonElement entries, byte[] busybox)
    {
        using var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var e in entries.EnumerateArray())
            {
                var link = e.TryGetProperty("hardlinkOf", out var h) ? h.GetString() : null;
                var type = link is not null ? TarEntryType.HardLink : e.GetProperty("type").GetString() switch
                {
                    "dir" => TarEntryType.Directory,
                    "symlink" => TarEntryType.SymbolicLink,
                    "fifo" => TarEntryType.Fifo,
                    _ => TarEntryType.RegularFile,
                };
                var mtime = e.GetProperty("mtime");
                var entry = new PaxTarEntry(type, e.GetProperty("path").GetString()!)
                {
                    Mode = (UnixFileMode)Convert.ToInt32(e.GetProperty("mode").GetString(), 8),
                    Uid = e.GetProperty("uid").GetInt32(),
                    Gid = e.GetProperty("gid").GetInt32(),
                    ModificationTime = DateTimeOffset.FromUnixTimeSeconds(long.Parse(mtime.ValueKind == JsonValueKind.String ? mtime.GetString()! : mtime.GetRawText(), CultureInfo.InvariantCulture)),
                };
                if (link is not null || type == TarEntryType.SymbolicLink)
                    entry.LinkName = link ?? e.GetProperty("target").GetString()!;
                if (type == TarEntryType.RegularFile)
                {
                    var content = e.TryGetProperty("content", out var c) ? c.GetString()! : e.TryGetProperty("text", out c) ? c.GetString()! : "";
                    entry.DataStream = new MemoryStream(content == "@BUSYBOX@" ? busybox : e.TryGetProperty("base64", out var b) ? b.GetBytesFromBase64() : Encoding.UTF8.GetBytes(content));
                }
                writer.WriteEntry(entry);
            }
        }
        return tar.ToArray();
    }

    /// <summary>Paths are <c>/CASE/PATH</c>.</summary>
    private async Task AnswerAsync(HttpContext context)
    {
        var parts = (context.Request.Path.Value + context.Request.QueryString.Value).Split('/', 3);
        JsonElement routes = default;
        bool isKnown;
        lock (_served)
            isKnown = parts.Length == 3 && _served.TryGetValue(parts[1], out routes);
        if (!isKnown || !(routes.TryGetProperty("/" + parts[2], out var answer) || routes.TryGetProperty(parts[2], out answer)))
        {
            context.Response.StatusCode = 404;
            return;
        }
        if (answer.TryGetProperty("lastModified", out var modified))
            context.Response.Headers.LastModified = modified.GetString();
        var body = answer.TryGetProperty("text", out var text) ? Encoding.UTF8.GetBytes(text.GetString()!) : answer.GetProperty("base64").GetBytesFromBase64();
        context.Response.ContentLength = body.Length;
        if (!HttpMethods.IsHead(context.Request.Method))
            await context.Response.Body.WriteAsync(body);
    }
}
