using System.Text.Json;
using BuildKit.IntegrationTests.EndToEnd.Exporters;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.EndToEnd.Attestations;

/// <summary>Provenance of whole builds (spec 07 §9).</summary>
public sealed class ProvenanceTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private const string Metadata = "https://mobyproject.org/buildkit@v1#metadata";
    private const string Hermetic = "https://mobyproject.org/buildkit@v1#hermetic";

    private Buildctl Client => fixture.Client;

    private string EscapedHost => Uri.EscapeDataString(fixture.Registry.Host);

    private async Task<string> BaseDigestAsync() => Digest.Sha256(await fixture.Registry.GetManifestAsync(fixture.Base)).Hex;

    [EndToEndFact("git")]
    public async Task Everything_that_goes_in_is_listed_and_max_tells_how_it_was_asked_for()
    {
        await using var git = await GitHost.StartAsync();
        var work = await git.CreateAsync("app", ("f", "from git\n"));
        var commit = (await GitHost.GitAsync(work.Path, "rev-parse", "HEAD")).Trim();
        await using var web = await WebServer.StartAsync(new WebFile("from the web\n"u8.ToArray()).AnswerAsync);
        using var secret = new TempDirectory();
        await File.WriteAllTextAsync(secret.Path + "/s", "hidden value");
        using var context = new ContextDirectory($"""
            FROM {fixture.Base} AS one
            ARG WHO
            ADD {web.Url}/file.txt /file.txt
            RUN --mount=type=secret,id=maybe --mount=type=secret,id=must,required=true echo $WHO > /out
            FROM {fixture.Base} AS two
            ADD {git.Url}/app.git#main /src
            RUN --network=none --mount=type=secret,id=maybe,env=TOKEN cat /src/f > /out
            FROM {fixture.Base}
            COPY hello.txt /
            COPY --from=one /out /one
            COPY --from=two /out /two
            RUN echo {Guid.NewGuid():N} > /three
            """).Write("hello.txt", "hi\n");
        string[] arguments =
        [
            "--secret", $"id=must,src={secret.Path}/s", "--secret", $"id=maybe,src={secret.Path}/s", "--opt", "build-arg:WHO=me", "--opt", "label:a=b",
            "--opt", "vcs:source=https://user:pw@example.com/r", "--opt", "vcs:revision=1", "--opt", "filename=Dockerfile",
        ];
        var documents = await Statements.BuildAsync(Client, context, [.. arguments, "--opt", "attest:provenance=mode=max,builder-id=https://ci.example/1"]);
        var max = Assert.Single(documents.Of(Statements.Provenance));
        Assert.Equal(
            [
                $$$"""{"uri":"pkg:docker/{{{EscapedHost}}}/base@latest?platform=linux%2Famd64","digest":{"sha256":"{{{await BaseDigestAsync()}}}"}}""",
                $$$"""{"uri":"{{{git.Url}}}/app.git#main","digest":{"sha1":"{{{commit}}}"}}""",
                $$$"""{"uri":"{{{web.Url}}}/file.txt","digest":{"sha256":"{{{Digest.Sha256("from the web\n").Hex}}}"}}""",
            ],
            max.At("materials").Items());
        Assert.Equal("""{"entryPoint":"Dockerfile"}""", max.At("invocation", "configSource").GetRawText());
        Assert.Equal("""{"build-arg:WHO":"me","label:a":"b"}""", max.At("invocation", "parameters", "args").GetRawText());
        Assert.Equal(
            ["""{"id":"GIT_AUTH_HEADER","optional":true}""", """{"id":"GIT_AUTH_TOKEN","optional":true}""", """{"id":"maybe","optional":true}""", """{"id":"must"}"""],
            max.At("invocation", "parameters", "secrets").Items());
        Assert.Equal(["""{"name":"context"}""", """{"name":"dockerfile"}"""], max.At("invocation", "parameters", "locals").Items());
        Assert.Equal("""{"revision":"1","source":"https://xxxxx:xxxxx@example.com/r"}""", max.At("metadata", Metadata, "vcs").GetRawText());
        Assert.Equal("""{"parameters":true,"environment":true,"materials":false}""", max.At("metadata", "completeness").GetRawText());
        Assert.Equal("https://ci.example/1", max.At("builder", "id").GetString());
        Assert.False(max.At("metadata").TryGetProperty(Hermetic, out _));
        Assert.DoesNotContain("hidden value", max.GetRawText(), StringComparison.Ordinal);
        // Every step of the three stages, and where in the Dockerfile it stands.
        Assert.True(max.At("buildConfig", "llbDefinition").GetArrayLength() > 8);
        Assert.Contains("\"locations\":[{\"ranges\":[{\"start\":{\"line\":4}", max.At("metadata", Metadata, "source", "locations").GetRawText(), StringComparison.Ordinal);
        Assert.NotEmpty(max.At("metadata", Metadata, "layers").EnumerateObject());

        var min = Assert.Single((await Statements.BuildAsync(Client, context, [.. arguments, "--opt", "attest:provenance=mode=min,reproducible=true,capture-usage=1"])).Of(Statements.Provenance));
        Assert.Equal(max.At("materials").GetRawText(), min.At("materials").GetRawText());
        Assert.Equal("""{"frontend":"dockerfile.v0","locals":[{"name":"context"},{"name":"dockerfile"}]}""", min.At("invocation", "parameters").GetRawText());
        Assert.Equal("""{"parameters":false,"environment":true,"materials":false}""", min.At("metadata", "completeness").GetRawText());
        Assert.True(min.At("metadata", "reproducible").GetBoolean());
        Assert.False(min.TryGetProperty("buildConfig", out _));
        Assert.Equal(["vcs", "sysUsage"], min.At("metadata", Metadata).EnumerateObject().Select(member => member.Name));
        Assert.True(min.At("metadata", Metadata, "sysUsage")[0].At("memoryStat", "total").GetInt64() > 0);
        Assert.NotEqual(max.At("metadata", "buildInvocationID").GetString(), min.At("metadata", "buildInvocationID").GetString());
    }

    [EndToEndFact]
    public async Task A_build_of_fetched_files_without_network_is_hermetic_and_shows_no_credentials()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN --network=none echo {Guid.NewGuid():N} > /x\n");
        using var archive = new MemoryStream();
        await System.Formats.Tar.TarFile.CreateFromDirectoryAsync(context.Path, archive, includeBaseDirectory: false);
        await using var web = await WebServer.StartAsync(new WebFile(archive.ToArray()).AnswerAsync);
        var address = web.Url.Replace("http://", "http://user:pass@", StringComparison.Ordinal) + "/c.tar";
        var documents = await Statements.BuildAsync(Client, context, "--opt", "context=" + address, "--opt", "attest:provenance=");
        var predicate = Assert.Single(documents.Of(Statements.Provenance));
        var shown = web.Url.Replace("http://", "http://xxxxx:xxxxx@", StringComparison.Ordinal) + "/c.tar";
        Assert.Equal($$$"""{"uri":"{{{shown}}}","digest":{"sha256":"{{{Digest.Sha256(archive.ToArray()).Hex}}}"}}""", predicate.At("invocation", "configSource").GetRawText());
        Assert.Contains(predicate.At("materials").EnumerateArray(), material => material.At("uri").GetString() == shown);
        Assert.Equal("""{"frontend":"dockerfile.v0"}""", predicate.At("invocation", "parameters").GetRawText());
        Assert.True(predicate.At("metadata", "completeness", "materials").GetBoolean());
        Assert.True(predicate.At("metadata", Hermetic).GetBoolean());
        Assert.DoesNotContain("user:pass", System.Text.Encoding.UTF8.GetString(documents["layer-1-0.json"]), StringComparison.Ordinal);
        Assert.DoesNotContain(Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes("user:pass"))[..10], predicate.GetRawText(), StringComparison.Ordinal);
    }

    [EndToEndFact("skopeo")]
    public async Task What_is_for_images_only_leaves_archives_as_they_are_and_others_read_it()
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY hello.txt /\n").Write("hello.txt", "hi\n");
        string[] defaults = ["--opt", "attest:provenance=mode=min,inline-only=true"];
        var archive = await Statements.BuildAsync(Client, context, defaults);
        Assert.False(archive.ContainsKey("index.json"));
        var name = $"{fixture.Registry.Host}/inline:v1";
        using var output = new TempDirectory();
        var built = (await Client.BuildAsync(context, ["--output", $"type=image,name={name},push=true", "--output", $"type=local,dest={output.Path}/l", "--metadata-file", output.Path + "/m", .. defaults])).Succeeded();
        Assert.False(File.Exists(output.Path + "/l/provenance.json"));
        string[] lines =
        [
            .. built.Trace.Statuses.Where(s => s.StartsWith("exporting ", StringComparison.Ordinal)).Select(s => s.Split(" sha256:")[0]).Distinct(StringComparer.Ordinal),
        ];
        Assert.Equal(["exporting layers", "exporting manifest", "exporting config", "exporting attestation manifest", "exporting manifest list"], lines);
        using var metadata = JsonDocument.Parse(await File.ReadAllBytesAsync(output.Path + "/m"));
        Assert.False(metadata.RootElement.TryGetProperty("containerimage.config.digest", out _));
        Assert.Equal("application/vnd.oci.image.index.v1+json", metadata.RootElement.At("containerimage.descriptor", "mediaType").GetString());
        using var index = JsonDocument.Parse((await Programs.RunAsync("skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://" + name])).Succeeded().Text);
        var attestation = index.RootElement.GetProperty("manifests")[1];
        Assert.Equal("attestation-manifest", attestation.At("annotations", "vnd.docker.reference.type").GetString());
        Assert.Equal(index.RootElement.GetProperty("manifests")[0].GetProperty("digest").GetString(), attestation.At("annotations", "vnd.docker.reference.digest").GetString());
        using var manifest = JsonDocument.Parse(
            (await Programs.RunAsync("skopeo", ["inspect", "--raw", "--tls-verify=false", $"docker://{fixture.Registry.Host}/inline@{attestation.GetProperty("digest").GetString()}"])).Succeeded().Text);
        Assert.Equal(Statements.Provenance, manifest.RootElement.GetProperty("layers")[0].At("annotations", "in-toto.io/predicate-type").GetString());
        // The image itself is found through the index.
        (await Programs.RunAsync("skopeo", ["copy", "--src-tls-verify=false", "docker://" + name, $"oci:{output.Path}/copy:v1"])).Succeeded();
    }

    [EndToEndFact]
    public async Task Each_platform_tells_of_the_images_of_its_own()
    {
        var name = $"{fixture.Registry.Host}/two:v1";
        using (var context = new ContextDirectory("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n").Write("amd64", "a").Write("arm64", "b"))
            (await Client.BuildAsync(context, "--opt", "platform=linux/amd64,linux/arm64", "--output", $"type=image,name={name},push=true")).Succeeded();
        using var above = new ContextDirectory($"FROM {name}\nCOPY hello.txt /\n").Write("hello.txt", Guid.NewGuid().ToString());
        var documents = await Statements.BuildAsync(Client, above, "--opt", "platform=linux/amd64,linux/arm64", "--opt", "attest:provenance=mode=min,inline-only=true");
        var uris = documents.Of(Statements.Provenance).Select(p => Assert.Single(p.At("materials").EnumerateArray()).At("uri").GetString());
        Assert.Equal([$"pkg:docker/{EscapedHost}/two@v1?platform=linux%2Famd64", $"pkg:docker/{EscapedHost}/two@v1?platform=linux%2Farm64"], uris);
    }

    [EndToEndTheory]
    [InlineData("attest:foo=", "unknown attestation type \"foo\"")]
    [InlineData("build-arg:BUILDKIT_ATTEST_FOO=1", "unknown attestation type \"foo\"")]
    [InlineData("attest:provenance=a\"b", "failed to parse provenance: parse error on line 1, column 2: bare \" in non-quoted-field")]
    [InlineData("attest:provenance=mode=mid", "invalid mode \"mid\"")]
    [InlineData("attest:provenance=reproducible=yes", "failed to parse reproducible flag \"yes\": strconv.ParseBool: parsing \"yes\": invalid syntax")]
    [InlineData("attest:provenance=filename=", "attestation does not have set path")]
    [InlineData("attest:sbom=generator=", "sbom generator cannot be empty")]
    [InlineData("attest:SBOM=generator=A/B", "failed to parse sbom generator A/B: invalid reference format: repository name (B) must be lowercase")]
    public async Task A_wrong_request_is_refused_in_the_words_of_the_reference(string option, string message)
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY hello.txt /\n").Write("hello.txt", "hi\n");
        using var output = new TempDirectory();
        var built = await Client.BuildAsync(context, "--opt", option, "--output", $"type=oci,dest={output.Path}/o");
        Assert.Equal(1, built.Result.ExitCode);
        Assert.Contains($"error: failed to solve: {message}\n", built.Result.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Names_of_images_must_be_known_and_several_platforms_make_no_docker_archive()
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY hello.txt /\n").Write("hello.txt", "hi\n");
        using var output = new TempDirectory();
        var star = await Client.BuildAsync(context, "--opt", "attest:provenance=", "--output", "type=image,name=*");
        Assert.Contains("failed to parse ref \"*\": invalid reference format", star.Result.Errors, StringComparison.Ordinal);
        var docker = await Client.BuildAsync(context, "--opt", "attest:provenance=", "--opt", "platform=linux/amd64,linux/arm64", "--output", $"type=docker,dest={output.Path}/d");
        Assert.Contains("docker exporter does not currently support exporting manifest lists", docker.Result.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Nothing_made_has_nothing_to_tell()
    {
        using var context = new ContextDirectory("FROM scratch\n");
        var documents = await Statements.BuildAsync(Client, context, "--opt", "attest:provenance=mode=max", "--opt", "attest:provenance=mode=nonsense");
        Assert.False(documents.ContainsKey("index.json"));
        var several = await Statements.BuildAsync(Client, context, "--opt", "attest:provenance=", "--opt", "platform=linux/amd64,linux/arm64");
        Assert.Empty(several.Of(Statements.Provenance));
    }

    [EndToEndFact]
    public async Task Files_beside_trees_are_named_by_prefix_and_platform()
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY hello.txt /\n").Write("hello.txt", "hi\n");
        using var output = new TempDirectory();
        (await Client.BuildAsync(
            context, "--opt", "attest:provenance=mode=min,filename=p.q.json", "--opt", "platform=linux/amd64,linux/arm64",
            "--output", $"type=tar,dest={output.Path}/t,attestation-prefix=x-,platform-split=false", "--output", $"type=local,dest={output.Path}/l")).Succeeded();
        var names = new List<string>();
        await using (var tar = new System.Formats.Tar.TarReader(File.OpenRead(output.Path + "/t")))
        {
            while (await tar.GetNextEntryAsync() is { } entry)
                names.Add(entry.Name);
        }
        Assert.Equal(
            ["linux_amd64/", "linux_amd64/hello.txt", "linux_amd64/x-p.q.linux_amd64.json", "linux_arm64/", "linux_arm64/hello.txt", "linux_arm64/x-p.q.linux_arm64.json"], names);
        using var statement = JsonDocument.Parse(await File.ReadAllBytesAsync(output.Path + "/l/linux_arm64/p.q.json"));
        Assert.Equal($$$"""{"name":"hello.txt","digest":{"sha256":"{{{Digest.Sha256("hi\n").Hex}}}"}}""", Assert.Single(CompactItems(statement.RootElement.GetProperty("subject"))));
    }

    private static IEnumerable<string> CompactItems(JsonElement list) =>
        list.EnumerateArray().Select(item => System.Text.Encoding.UTF8.GetString(CanonicalJsonWriter.Compact(System.Text.Encoding.UTF8.GetBytes(item.GetRawText()))));
}
