using System.Text;
using System.Text.Json;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>Our exports are the reference's, byte for byte, but for times and compressed layers (spec 04 §2, §3).</summary>
public sealed class CacheExportGoldenTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private const string Reference = "v0.20.0";

    public static TheoryData<string> Caches() => GoldenCache.Cases(GoldenCache.All(Reference));

    [EndToEndTheory]
    [MemberData(nameof(Caches))]
    public async Task An_export_has_the_reference_s_records_links_and_layers(string path)
    {
        if (GoldenCache.Of(path) is not { } golden)
            return;
        using var context = GoldenCache.Context(golden.Dockerfile);
        using var temp = new TempDirectory();
        await fixture.Client.PruneAllAsync();
        var export = await ExportAsync(golden, context, temp, "first");
        var again = await ExportAsync(golden, context, temp, "second");
        Assert.Equal(Encoding.UTF8.GetString(export.ConfigJson), Encoding.UTF8.GetString(again.ConfigJson));

        Assert.Equal(CacheComparison.NormalizeManifest(golden.ReadRoot()), CacheComparison.NormalizeManifest(export.Root));
        var expected = golden.ReadConfig();
        if (golden.IsInline)
        {
            Assert.Equal(CacheComparison.NormalizeInline(expected), CacheComparison.NormalizeInline(export.Config));
            return;
        }
        Assert.Equal(await CacheComparison.NormalizeAsync(expected), await CacheComparison.NormalizeAsync(export.Config));
    }

    // The sets whose sources every machine has: files, steps of a static busybox, merges and differences.
    public static TheoryData<string> KeySets()
    {
        var sets = new[] { "g1", "g3", "g5" }.Where(IsRecorded).ToList();
        return sets.Count > 0 ? [.. sets] : [""];
    }

    [EndToEndTheory]
    [MemberData(nameof(KeySets))]
    public async Task Every_step_has_the_reference_s_key(string set)
    {
        if (set.Length == 0)
            return;
        var expected = Expected(set);
        using var context = KeyContext(set);
        using var temp = new TempDirectory();
        await fixture.Client.PruneAllAsync();
        string[] options = ["--export-cache", $"type=local,dest={temp.Path}/cache,mode=max"];
        if (File.Exists(Golden.Path("cachekeys", set, "llb.bin")))
            (await fixture.Client.RunAsync(["build", "--local", "context=" + context.Path, .. options], await File.ReadAllBytesAsync(Golden.Path("cachekeys", set, "llb.bin")))).Succeeded();
        else
            (await fixture.Client.BuildAsync(context, options)).Succeeded();
        var export = GoldenCache.ReadLayout($"{temp.Path}/cache");
        Assert.Equal(await CacheComparison.NormalizeAsync(expected), await CacheComparison.NormalizeAsync(export.Config));
    }

    [EndToEndFact]
    public async Task A_minimal_export_has_all_records_and_only_the_layers_of_the_result()
    {
        if (!IsRecorded("g1"))
            return;
        using var context = KeyContext("g1");
        using var temp = new TempDirectory();
        await fixture.Client.PruneAllAsync();
        (await fixture.Client.BuildAsync(context, "--export-cache", $"type=local,dest={temp.Path}/cache,mode=min")).Succeeded();
        var export = GoldenCache.ReadLayout($"{temp.Path}/cache").Config;
        Assert.Equal(Expected("g1").Records.Select(r => r.Digest), export.Records.Select(r => r.Digest));
        // The last stage and its base (spec 03 §12).
        Assert.Equal(
            ["1616bd1ac1df", "a5db776dc9b7", "a9915c3f748b", "bdc14081db7c", "f2cf001f7748"],
            export.Records.Where(r => r.Results.Count > 0).Select(r => r.Digest.Hex[..12]).Order(StringComparer.Ordinal));
    }

    [EndToEndFact]
    public async Task The_cache_inside_an_image_has_the_reference_s_records()
    {
        if (!File.Exists(Golden.Path("exporters", "inline-cache", "config.json")))
            return;
        using var context = new ContextDirectory();
        foreach (var file in new[] { "Dockerfile", "hello.txt" })
        {
            File.Copy(Golden.Path("exporters", file), context[file]);
            LinuxFile.Chmod(context[file], 0x1A4);
        }
        using var temp = new TempDirectory();
        await fixture.Client.PruneAllAsync();
        (await fixture.Client.BuildAsync(
            context, "--opt", "build-arg:SOURCE_DATE_EPOCH=1700000000", "--export-cache", "type=inline", "--output", $"type=oci,tar=false,dest={temp.Path}/image")).Succeeded();
        var expected = GoldenCache.ReadManifest(
            await File.ReadAllBytesAsync(Golden.Path("exporters", "inline-cache", "manifest.json")), _ => File.ReadAllBytes(Golden.Path("exporters", "inline-cache", "config.json")));
        Assert.Equal(CacheComparison.NormalizeInline(expected.Config), CacheComparison.NormalizeInline(GoldenCache.ReadLayout($"{temp.Path}/image").Config));
    }

    private async Task<(CacheConfig Config, byte[] ConfigJson, byte[] Root)> ExportAsync(
        GoldenCache golden, ContextDirectory context, TempDirectory temp, string name)
    {
        var kind = Path.GetFileName(golden.Path);
        if (!golden.IsLocal)
        {
            var reference = $"{fixture.Registry.Host}/export-{kind}-{name}:v1";
            string[] arguments = golden.IsInline
                ? ["--export-cache", "type=inline", "--output", $"type=image,name={reference},push=true,oci-mediatypes=false"]
                : ["--export-cache", $"type=registry,ref={reference},mode=max"];
            (await fixture.Client.BuildAsync(context, [.. arguments, .. golden.BuildOptions])).Succeeded();
            var root = await fixture.Registry.GetManifestAsync(reference);
            var (config, _, json) = GoldenCache.ReadManifest(root, digest => File.ReadAllBytes(fixture.Registry.BlobPath(digest.ToString())));
            return (config, json, root);
        }
        var directory = Path.Combine(temp.Path, name);
        (await fixture.Client.BuildAsync(context, ["--export-cache", $"type=local,dest={directory},{OptionsOf(kind)}", .. golden.BuildOptions])).Succeeded();
        var layout = GoldenCache.ReadLayout(directory);
        return (layout.Config, layout.ConfigJson, GoldenCache.ReadRoot(directory));
    }

    private static string OptionsOf(string kind) => kind switch
    {
        "local-min" => "mode=min",
        "local-max" or "local-max-multi" => "mode=max",
        "local-max-docker" => "mode=max,oci-mediatypes=false",
        "local-max-image-manifest" => "mode=max,image-manifest=true",
        "local-max-zstd" => "mode=max,compression=zstd,force-compression=true",
        "local-max-uncompressed" => "mode=max,compression=uncompressed,force-compression=true,tag=mytag",
        _ => throw new InvalidOperationException($"no options known for {kind}"),
    };

    private static bool IsRecorded(string set) => File.Exists(Golden.Path("cachekeys", set, $"cacheconfig-{Reference}.json"));

    private static ContextDirectory KeyContext(string set)
    {
        // The definition of g3 was made for the context of g2.
        set = set == "g3" ? "g2" : set;
        // Not the recorded files themselves: what was a link is a text there.
        var context = new ContextDirectory();
        using var index = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("cachekeys", "index.json")));
        foreach (var entry in index.RootElement.GetProperty("cases").EnumerateArray().Single(c => c.GetProperty("name").GetString() == set).GetProperty("context_entries").EnumerateArray())
        {
            var file = context[entry.GetProperty("path").GetString()!.TrimStart('/')];
            switch (entry.GetProperty("type").GetString())
            {
                case "dir":
                    Directory.CreateDirectory(file);
                    break;
                case "symlink":
                    File.CreateSymbolicLink(file, entry.GetProperty("linkname").GetString()!);
                    continue;
                default:
                    File.WriteAllBytes(file, entry.TryGetProperty("content_base64", out var content) ? content.GetBytesFromBase64() : File.ReadAllBytes("/bin/busybox"));
                    break;
            }
            LinuxFile.Chmod(file, Convert.ToUInt32(entry.GetProperty("mode").GetString(), 8));
        }
        return context;
    }

    /// <summary>The recorded config; where the machine has another busybox, with the content key of that one.</summary>
    private static CacheConfig Expected(string set)
    {
        var config = CacheConfig.Parse(CanonicalJsonWriter.Compact(File.ReadAllBytes(Golden.Path("cachekeys", set, $"cacheconfig-{Reference}.json"))));
        var busybox = File.ReadAllBytes("/bin/busybox");
        var header = Encoding.ASCII.GetBytes($"namemode493uid0gid0size{busybox.Length}typeflag0linknameunamegnamedevmajor0devminor0");
        var content = CacheKey.RecordDigest(Digest.Sha256(Digest.Sha256([.. header, .. busybox]).ToString()), -1);
        var recorded = Digest.Parse("sha256:8f96a78607bc3250661cd8022d103ef42eb5bd7fa743e9f05f48bb4ab04bb4e1");
        return config with { Records = config.Records.Select(r => r.Digest == recorded ? r with { Digest = content } : r).ToList() };
    }
}
