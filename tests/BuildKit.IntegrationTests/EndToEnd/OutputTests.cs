using System.Formats.Tar;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Results of a multi-stage build, read by others.</summary>
public sealed class OutputTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    /// <summary>Steps of its own for each test: a layer once exported with a compression keeps it.</summary>
    private ContextDirectory Context() => new ContextDirectory($"""
        FROM {fixture.Base} AS build
        COPY source.txt /src/
        RUN tr a-z A-Z < /src/source.txt > /result.txt && chmod 640 /result.txt
        RUN echo {Guid.NewGuid():N} > /unique
        FROM {fixture.Base} AS test
        COPY --from=build /result.txt /
        RUN grep -q HELLO /result.txt && echo passed > /report
        FROM {fixture.Base}
        LABEL team=build
        ENV MODE=final
        COPY --from=build --chown=1000:1001 /result.txt /unique /app/
        COPY --from=test /report /app/
        RUN ln -s result.txt /app/link
        USER app
        WORKDIR /app
        ENTRYPOINT ["cat", "result.txt"]
        """).Write("source.txt", "hello\n");

    [EndToEndFact]
    public async Task Local_output_writes_the_files()
    {
        using var context = Context();
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal("HELLO\n", await File.ReadAllTextAsync($"{output.Path}/o/app/result.txt"));
        Assert.Equal("passed\n", await File.ReadAllTextAsync($"{output.Path}/o/app/report"));
        Assert.Equal("result.txt", new FileInfo($"{output.Path}/o/app/link").LinkTarget);
        Assert.Equal((UnixFileMode)0x1A0, File.GetUnixFileMode($"{output.Path}/o/app/result.txt"));
        Assert.False(Directory.Exists($"{output.Path}/o/src"));
    }

    [EndToEndFact]
    public async Task Tar_output_has_owners_modes_and_links_and_goes_to_a_file_or_standard_output()
    {
        using var context = Context();
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=tar,dest={output.Path}/o.tar")).Succeeded();
        var entries = Entries(await File.ReadAllBytesAsync($"{output.Path}/o.tar"));
        var result = entries["app/result.txt"];
        Assert.Equal((1000, 1001, (UnixFileMode)0x1A0, 6L), (result.Uid, result.Gid, result.Mode, result.Length));
        Assert.Equal((TarEntryType.SymbolicLink, "result.txt"), (entries["app/link"].EntryType, entries["app/link"].LinkName));
        var piped = (await Client.RunAsync(["build", "--progress=quiet", "--frontend", "dockerfile.v0", "--local", "context=" + context.Path, "--local", "dockerfile=" + context.Path, "--output", "type=tar"])).Succeeded();
        Assert.Equal(await File.ReadAllBytesAsync($"{output.Path}/o.tar"), piped.Output);
    }

    [EndToEndTheory("skopeo", "umoci")]
    [InlineData("type=oci,dest={0}/o.tar,name=example.com/team/app:v1", false)]
    [InlineData("type=oci,dest={0}/o,tar=false,name=example.com/team/app:v1", true)]
    [InlineData("type=oci,dest={0}/o.tar,name=example.com/team/app:v1,compression=zstd,force-compression=true", false)]
    [InlineData("type=oci,dest={0}/o.tar,name=example.com/team/app:v1,compression=uncompressed,force-compression=true", false)]
    public async Task Oci_output_is_read_by_skopeo_and_umoci(string output, bool isDirectory)
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await Client.BuildAsync(context, "--output", string.Format(System.Globalization.CultureInfo.InvariantCulture, output, temp.Path))).Succeeded();
        var archive = isDirectory ? $"oci:{temp.Path}/o:v1" : $"oci-archive:{temp.Path}/o.tar";
        var config = (await Programs.RunAsync("skopeo", ["inspect", "--config", archive])).Succeeded();
        AssertConfig(config.Text);
        if (!output.Contains("zstd", StringComparison.Ordinal))
            await AssertUnpacksAsync(archive, temp);
    }

    [EndToEndTheory("skopeo", "umoci", "htpasswd")]
    [InlineData(DockerRegistryAuth.None)]
    [InlineData(DockerRegistryAuth.Basic)]
    [InlineData(DockerRegistryAuth.Token)]
    public async Task An_image_pushed_to_a_registry_is_read_by_skopeo_and_umoci(DockerRegistryAuth auth)
    {
        await using var registry = await DockerRegistry.StartAsync(auth);
        using var context = Context();
        using var temp = new TempDirectory();
        var config = Credentials(temp, registry.Host, DockerRegistry.Password);
        var client = new Buildctl(fixture.Daemon.Address, config);
        var metadata = Path.Combine(temp.Path, "metadata.json");
        (await client.BuildAsync(context, "--output", $"type=image,name={registry.Host}/team/app:v1,push=true", "--metadata-file", metadata)).Succeeded();
        string[] access = ["--tls-verify=false", .. auth == DockerRegistryAuth.None ? Array.Empty<string>() : ["--creds", $"{DockerRegistry.User}:{DockerRegistry.Password}"]];
        var reference = $"docker://{registry.Host}/team/app:v1";
        AssertConfig((await Programs.RunAsync("skopeo", ["inspect", "--config", .. access, reference])).Succeeded().Text);
        using var inspected = JsonDocument.Parse((await Programs.RunAsync("skopeo", ["inspect", .. access, reference])).Succeeded().Output);
        using var told = JsonDocument.Parse(await File.ReadAllBytesAsync(metadata));
        Assert.Equal(inspected.RootElement.GetProperty("Digest").GetString(), told.RootElement.GetProperty("containerimage.digest").GetString());
        Assert.Equal($"{registry.Host}/team/app:v1", told.RootElement.GetProperty("image.name").GetString());
        (await Programs.RunAsync("skopeo", ["copy", "-q", "--insecure-policy", "--src-tls-verify=false", .. auth == DockerRegistryAuth.None ? Array.Empty<string>() : ["--src-creds", $"{DockerRegistry.User}:{DockerRegistry.Password}"], reference, $"oci:{temp.Path}/copied:v1"])).Succeeded();
        await AssertUnpacksAsync($"oci:{temp.Path}/copied:v1", temp);

        // What was pushed there is a base image for the next build, with the same credentials.
        using var next = new ContextDirectory($"FROM {registry.Host}/team/app:v1\nRUN test \"$(cat /app/result.txt)\" = HELLO\n");
        (await client.BuildAsync(next)).Succeeded();
    }

    [EndToEndFact("skopeo")]
    public async Task Several_names_are_pushed_at_once_and_by_digest()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var metadata = Path.Combine(temp.Path, "metadata.json");
        (await Client.BuildAsync(context, "--output", $"type=image,\"name={fixture.Registry.Host}/multi:a,{fixture.Registry.Host}/multi:b\",push=true", "--metadata-file", metadata)).Succeeded();
        using var told = JsonDocument.Parse(await File.ReadAllBytesAsync(metadata));
        var digest = told.RootElement.GetProperty("containerimage.digest").GetString();
        foreach (var name in new[] { ":a", ":b", "@" + digest })
        {
            using var inspected = JsonDocument.Parse((await Programs.RunAsync("skopeo", ["inspect", "--tls-verify=false", $"docker://{fixture.Registry.Host}/multi{name}"])).Succeeded().Output);
            Assert.Equal(digest, inspected.RootElement.GetProperty("Digest").GetString());
        }
        (await Client.BuildAsync(context, "--output", $"type=image,name={fixture.Registry.Host}/bydigest,push=true,push-by-digest=true")).Succeeded();
        (await Programs.RunAsync("skopeo", ["inspect", "--raw", "--tls-verify=false", $"docker://{fixture.Registry.Host}/bydigest@{digest}"])).Succeeded();
        (await Programs.RunAsync("skopeo", ["inspect", "--raw", "--tls-verify=false", $"docker://{fixture.Registry.Host}/bydigest:latest"])).Failed();
    }

    [EndToEndFact]
    public async Task The_metadata_file_tells_the_image_and_its_config()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var metadata = Path.Combine(temp.Path, "m.json");
        (await Client.BuildAsync(context, "--output", $"type=oci,dest={temp.Path}/o.tar,name=example.com/app:1", "--metadata-file", metadata)).Succeeded();
        using var told = JsonDocument.Parse(await File.ReadAllBytesAsync(metadata));
        var descriptor = told.RootElement.GetProperty("containerimage.descriptor");
        Assert.Equal(told.RootElement.GetProperty("containerimage.digest").GetString(), descriptor.GetProperty("digest").GetString());
        Assert.StartsWith("sha256:", told.RootElement.GetProperty("containerimage.config.digest").GetString(), StringComparison.Ordinal);
        Assert.Equal("example.com/app:1", told.RootElement.GetProperty("image.name").GetString());
        using var index = JsonDocument.Parse(Read(await File.ReadAllBytesAsync($"{temp.Path}/o.tar"), "index.json"));
        Assert.Equal(descriptor.GetProperty("digest").GetString(), index.RootElement.GetProperty("manifests")[0].GetProperty("digest").GetString());
    }

    [EndToEndFact]
    public async Task With_an_epoch_and_rewritten_times_two_daemons_make_the_same_bytes()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        await using var other = await DaemonProcess.StartAsync();
        string Output(int i) => $"type=oci,dest={temp.Path}/{i}.tar,name=example.com/app:1,rewrite-timestamp=true";
        string[] epoch = ["--opt", "build-arg:SOURCE_DATE_EPOCH=1700000000"];
        (await Client.BuildAsync(context, ["--output", Output(1), .. epoch])).Succeeded();
        (await new Buildctl(other.Address).BuildAsync(context, ["--output", Output(2), .. epoch])).Succeeded();
        Assert.Equal(Read(await File.ReadAllBytesAsync($"{temp.Path}/1.tar"), "index.json"), Read(await File.ReadAllBytesAsync($"{temp.Path}/2.tar"), "index.json"));
    }

    [EndToEndFact("skopeo")]
    public async Task Docker_output_is_a_docker_archive()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=docker,dest={temp.Path}/d.tar,name=example.com/team/app:v1")).Succeeded();
        using var manifest = JsonDocument.Parse(Read(await File.ReadAllBytesAsync($"{temp.Path}/d.tar"), "manifest.json"));
        Assert.Equal("example.com/team/app:v1", manifest.RootElement[0].GetProperty("RepoTags")[0].GetString());
        AssertConfig((await Programs.RunAsync("skopeo", ["inspect", "--config", $"docker-archive:{temp.Path}/d.tar"])).Succeeded().Text);
    }

    [EndToEndFact("dockerd", "docker", "containerd")]
    public async Task Docker_load_takes_the_docker_archive()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=docker,dest={temp.Path}/d.tar,name=example.com/team/app:v1")).Succeeded();
        await File.WriteAllTextAsync($"{temp.Path}/daemon.json", "{}");
        using var dockerd = Programs.Start("dockerd",
        [
            "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs", "--data-root", $"{temp.Path}/data", "--exec-root", $"{temp.Path}/exec",
            "--host", $"unix://{temp.Path}/d.sock", "--pidfile", $"{temp.Path}/pid", "--config-file", $"{temp.Path}/daemon.json",
        ]);
        var log = dockerd.StandardError.ReadToEndAsync();
        try
        {
            string[] host = ["--host", $"unix://{temp.Path}/d.sock"];
            ProgramResult info;
            for (var attempt = 0; (info = await Programs.RunAsync("docker", [.. host, "version"])).ExitCode != 0 && attempt < 300 && !dockerd.HasExited; attempt++)
                await Task.Delay(100);
            Assert.True(info.ExitCode == 0, dockerd.HasExited ? await log : info.Errors);
            var loaded = (await Programs.RunAsync("docker", [.. host, "load", "-i", $"{temp.Path}/d.tar"])).Succeeded();
            Assert.Contains("Loaded image: example.com/team/app:v1", loaded.Text, StringComparison.Ordinal);
            var inspected = (await Programs.RunAsync("docker", [.. host, "image", "inspect", "--format", "{{.Config.User}} {{.Config.WorkingDir}} {{index .Config.Labels \"team\"}}", "example.com/team/app:v1"])).Succeeded();
            Assert.Equal("app /app build\n", inspected.Text);
            (await Programs.RunAsync("docker", [.. host, "create", "--name", "app", "--network", "none", "example.com/team/app:v1"])).Succeeded();
            var copied = (await Programs.RunAsync("docker", [.. host, "cp", "app:/app/result.txt", "-"])).Succeeded();
            Assert.Equal("HELLO\n", System.Text.Encoding.UTF8.GetString(Read(copied.Output, "result.txt")));
        }
        finally
        {
            if (!dockerd.HasExited)
            {
                using var kill = Programs.Start("kill", ["-TERM", dockerd.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
                await kill.WaitForExitAsync();
                await dockerd.WaitForExitAsync();
            }
        }
    }

    internal static Dictionary<string, string?> Credentials(TempDirectory temp, string host, string password)
    {
        var directory = temp.Sub("docker-" + Guid.NewGuid().ToString("N"));
        var login = Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes($"{DockerRegistry.User}:{password}"));
        File.WriteAllText(Path.Combine(directory, "config.json"), "{\"auths\":{\"" + host + "\":{\"auth\":\"" + login + "\"}}}");
        return new Dictionary<string, string?>(StringComparer.Ordinal) { ["DOCKER_CONFIG"] = directory };
    }

    private static void AssertConfig(string text)
    {
        using var json = JsonDocument.Parse(text);
        var config = json.RootElement.GetProperty("config");
        Assert.Equal("app", config.GetProperty("User").GetString());
        Assert.Equal("/app", config.GetProperty("WorkingDir").GetString());
        Assert.Equal("build", config.GetProperty("Labels").GetProperty("team").GetString());
        Assert.Contains("MODE=final", config.GetProperty("Env").EnumerateArray().Select(e => e.GetString()));
        Assert.Equal(["cat", "result.txt"], config.GetProperty("Entrypoint").EnumerateArray().Select(e => e.GetString()));
        // base layer, two copies, one RUN, and the working directory that exists already
        Assert.InRange(json.RootElement.GetProperty("rootfs").GetProperty("diff_ids").GetArrayLength(), 4, 5);
    }

    private static async Task AssertUnpacksAsync(string archive, TempDirectory temp)
    {
        if (!archive.StartsWith("oci:", StringComparison.Ordinal))
        {
            (await Programs.RunAsync("skopeo", ["copy", "-q", "--insecure-policy", archive, $"oci:{temp.Path}/layout:v1"])).Succeeded();
            archive = $"oci:{temp.Path}/layout:v1";
        }
        (await Programs.RunAsync("umoci", ["unpack", "--image", archive["oci:".Length..], $"{temp.Path}/bundle"])).Succeeded();
        Assert.Equal("HELLO\n", await File.ReadAllTextAsync($"{temp.Path}/bundle/rootfs/app/result.txt"));
        var run = (await Programs.RunAsync("chroot", [$"{temp.Path}/bundle/rootfs", "/bin/cat", "/app/link"])).Succeeded();
        Assert.Equal("HELLO\n", run.Text);
        var owner = (await Programs.RunAsync("stat", ["-c", "%u:%g %a", $"{temp.Path}/bundle/rootfs/app/result.txt"])).Succeeded();
        Assert.Equal("1000:1001 640\n", owner.Text);
    }

    internal static Dictionary<string, TarEntry> Entries(byte[] tar)
    {
        using var reader = new TarReader(new MemoryStream(tar));
        var entries = new Dictionary<string, TarEntry>(StringComparer.Ordinal);
        while (reader.GetNextEntry(copyData: true) is { } entry)
            entries[entry.Name.TrimEnd('/')] = entry;
        return entries;
    }

    internal static byte[] Read(byte[] tar, string name)
    {
        using var content = new MemoryStream();
        Entries(tar)[name].DataStream?.CopyTo(content);
        return content.ToArray();
    }
}
