using System.Text.Json;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.Sources;

/// <summary>Images in OCI layouts of the client, made by skopeo and umoci.</summary>
public sealed class OciLayoutTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    /// <summary>Copies the base image into a layout; the digest of its manifest.</summary>
    private async Task<Digest> CopyBaseAsync(string layout, string tag = "one")
    {
        (await Programs.RunAsync("skopeo", ["copy", "-q", "--insecure-policy", "--src-tls-verify=false", "docker://" + fixture.Base, $"oci:{layout}:{tag}"])).Succeeded();
        using var index = JsonDocument.Parse(await File.ReadAllBytesAsync(layout + "/index.json"));
        return Digest.Parse(index.RootElement.GetProperty("manifests").EnumerateArray().Last().GetProperty("digest").GetString()!);
    }

    [EndToEndFact("skopeo")]
    public async Task A_build_stands_on_an_image_of_a_layout()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var layout = new TempDirectory();
        var digest = await CopyBaseAsync(layout.Path + "/l");
        using var context = new ContextDirectory("FROM base AS work\nRUN echo $PATH > /out\nFROM scratch\nCOPY --from=work /out /\n");
        string[] arguments = ["--oci-layout", "store=" + layout.Path + "/l", "--opt", $"context:base=oci-layout://store@{digest}"];
        using var output = new TempDirectory();
        var build = (await client.BuildAsync(context, ["--output", $"type=local,dest={output.Path}/o", .. arguments])).Succeeded();
        Assert.Equal("/bin\n", await File.ReadAllTextAsync(output.Path + "/o/out"));
        Assert.NotNull(build.Trace.Step("[context base] OCI load from client"));
        Assert.Contains($"resolve docker.io/library/base@{digest}", build.Trace.Statuses);
        Assert.Empty((await client.BuildAsync(context, arguments)).Succeeded().Trace.Executed);
        // The same image is the same from wherever it comes.
        using var other = new ContextDirectory((await File.ReadAllTextAsync(context["Dockerfile"])).Replace("FROM base", $"FROM {fixture.Registry.Host}/base:latest", StringComparison.Ordinal));
        Assert.Empty((await client.BuildAsync(other)).Succeeded().Trace.Executed);
    }

    [EndToEndFact("skopeo")]
    public async Task Layers_nobody_looks_into_are_read_only_to_be_passed_on()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var layout = new TempDirectory();
        var digest = await CopyBaseAsync(layout.Path + "/l");
        var layer = $"{layout.Path}/l/blobs/sha256/{fixture.BaseLayer.Hex}";
        string[] arguments = ["--oci-layout", "store=" + layout.Path + "/l", "--opt", $"context:base=oci-layout://store:one@{digest}"];
        using var context = new ContextDirectory($"FROM base\nLABEL unique={Guid.NewGuid():N}\n");
        // Not needed, and so not missed.
        File.Move(layer, layer + ".away");
        (await client.BuildAsync(context, arguments)).Succeeded();
        File.Move(layer + ".away", layer);
        using var output = new TempDirectory();
        (await client.BuildAsync(context, ["--output", $"type=oci,dest={output.Path}/image.tar", .. arguments])).Succeeded();
        (await Programs.RunAsync("skopeo", ["copy", "-q", "--insecure-policy", $"oci-archive:{output.Path}/image.tar", $"oci:{output.Path}/copy:x"])).Succeeded();
        Assert.True(File.Exists($"{output.Path}/copy/blobs/sha256/{fixture.BaseLayer.Hex}"));
    }

    [EndToEndFact("skopeo", "umoci")]
    public async Task An_index_gives_each_platform_its_image_and_a_name_may_be_for_one_platform()
    {
        using var layout = new TempDirectory();
        var path = layout.Path + "/l";
        await CopyBaseAsync(path);
        (await Programs.RunAsync("umoci", ["config", "--image", path + ":one", "--tag", "arm", "--architecture", "arm64", "--config.env", "WHO=arm"])).Succeeded();
        (await Programs.RunAsync("umoci", ["config", "--image", path + ":one", "--tag", "amd", "--config.env", "WHO=amd"])).Succeeded();
        Dictionary<string, JsonElement> images;
        using (var index = JsonDocument.Parse(await File.ReadAllBytesAsync(path + "/index.json")))
        {
            images = index.RootElement.GetProperty("manifests").EnumerateArray().ToDictionary(
                manifest => manifest.GetProperty("annotations").GetProperty("org.opencontainers.image.ref.name").GetString()!, manifest => manifest.Clone(), StringComparer.Ordinal);
        }
        string Entry(string tag, string architecture) =>
            $$$"""{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{{images[tag].GetProperty("digest").GetString()}}}","size":{{{images[tag].GetProperty("size").GetInt64()}}},"platform":{"os":"linux","architecture":"{{{architecture}}}"}}""";
        var list = System.Text.Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{Entry("arm", "arm64")}},{{Entry("amd", "amd64")}}]}""");
        var digest = Digest.Sha256(list);
        await File.WriteAllBytesAsync($"{path}/blobs/sha256/{digest.Hex}", list);
        using var context = new ContextDirectory("FROM base\nARG WHO_WAS=$WHO\nLABEL who=$WHO\n");
        async Task<string> LabelAsync(string platform, params string[] names)
        {
            using var output = new TempDirectory();
            (await Client.BuildAsync(context, ["--oci-layout", "store=" + path, "--opt", "platform=" + platform, "--output", $"type=oci,dest={output.Path}/i.tar", .. names])).Succeeded();
            var inspected = await Programs.RunAsync("skopeo", ["inspect", "--config", $"oci-archive:{output.Path}/i.tar"]);
            using var config = JsonDocument.Parse(inspected.Succeeded().Output);
            return config.RootElement.GetProperty("config").GetProperty("Labels").GetProperty("who").GetString()!;
        }
        var all = $"context:base=oci-layout://store@{digest}";
        Assert.Equal("arm", await LabelAsync("linux/arm64", "--opt", all));
        Assert.Equal("amd", await LabelAsync("linux/amd64", "--opt", all));
        var one = $"context:base::linux/arm64=oci-layout://store@{images["amd"].GetProperty("digest").GetString()}";
        Assert.Equal("amd", await LabelAsync("linux/arm64", "--opt", all, "--opt", one));
    }

    [EndToEndFact("skopeo")]
    public async Task What_is_no_image_is_told()
    {
        using var layout = new TempDirectory();
        await CopyBaseAsync(layout.Path + "/l");
        using var context = new ContextDirectory("FROM base\nRUN true\n");
        async Task<string> FailAsync(string value, params string[] arguments) =>
            (await Client.BuildPlainAsync(context, ["--opt", "context:base=" + value, .. arguments])).Failed().Errors;
        string[] store = ["--oci-layout", "store=" + layout.Path + "/l"];
        Assert.Contains("oci-layout reference \"store:one\" has no digest", await FailAsync("oci-layout://store:one", store), StringComparison.Ordinal);
        var absent = Digest.Sha256("absent");
        Assert.Contains($"content digest {absent}: not found", await FailAsync($"oci-layout://store@{absent}", store), StringComparison.Ordinal);
        Assert.Contains("contains neither an index nor a manifest", await FailAsync($"oci-layout://store@{fixture.BaseLayer}", store), StringComparison.Ordinal);
        Assert.Contains("unknown store oci:other", await FailAsync($"oci-layout://other@{absent}", store), StringComparison.Ordinal);
        // What the client sends is what was asked for, or nothing.
        var forged = $"{layout.Path}/l/blobs/sha256/{absent.Hex}";
        await File.WriteAllTextAsync(forged, """{"schemaVersion":2,"manifests":[]}""");
        Assert.Contains(absent.Hex, await FailAsync($"oci-layout://store@{absent}", store), StringComparison.Ordinal);
    }
}
