using BuildKit.IntegrationTests.EndToEnd.Exporters;
using BuildKit.IntegrationTests.Support;
using BuildKit.Llb;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using Google.Protobuf;
using Exporter = BuildKit.Protocol.Control.Exporter;

namespace BuildKit.IntegrationTests.EndToEnd.Attestations;

/// <summary>Bills of materials, made by the frontend or by the daemon, and attestations of frontends (spec 07 §9.4, §9.5).</summary>
public sealed class SbomTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private static State FileOf(string name, string text) => State.Scratch.File(Files.Mkfile(name, 0x1A4, System.Text.Encoding.UTF8.GetBytes(text)));

    [EndToEndFact]
    public async Task The_scanner_is_given_the_stages_and_contexts_a_dockerfile_lets_it_see()
    {
        var scanner = await ScannerImage.PushAsync(fixture.Registry);
        using var context = new ContextDirectory($"""
            ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
            FROM {fixture.Base} AS first
            ARG BUILDKIT_SBOM_SCAN_STAGE=true
            RUN echo {Guid.NewGuid():N} > /x
            FROM scratch
            COPY --from=first /x /
            COPY hello.txt /
            """).Write("hello.txt", "hi\n");
        var documents = await Statements.BuildAsync(fixture.Client, context, "--opt", $"attest:sbom=generator={scanner},FOO=bar");
        var predicate = Assert.Single(documents.Of(Statements.Sbom));
        var seen = predicate.At("comment").GetString()!;
        Assert.Contains("BUILDKIT_SCAN_FOO=bar;BUILDKIT_SCAN_SOURCE=/run/src/core/sbom;BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras;", seen, StringComparison.Ordinal);
        Assert.EndsWith(" | . .. sbom  | sbom-context sbom-first ", seen, StringComparison.Ordinal);
        Assert.Equal(["\"Tool: fake-1\"", "\"Tool: buildkit-v0.20.0\""], predicate.At("creationInfo", "creators").Items());
        Assert.StartsWith("layerID: sha256:", predicate.At("files")[0].At("comment").GetString(), StringComparison.Ordinal);
        Assert.False(predicate.At("files")[1].TryGetProperty("comment", out _));
    }

    [EndToEndFact]
    public async Task The_daemon_scans_what_no_frontend_did_and_its_scan_is_no_material()
    {
        var scanner = await ScannerImage.PushAsync(fixture.Registry);
        var name = $"{fixture.Registry.Host}/raw:v1";
        await using var build = await StartAsync(name, ("attest:sbom", $"generator={scanner}"), ("attest:provenance", "mode=max"));
        // A result that is only looked at on the way is told, too.
        var asked = await build.SolveAsync(State.Image(fixture.Base), evaluate: true);
        Assert.Contains("root:", await build.ReadAsync(asked, "/etc/passwd"), StringComparison.Ordinal);
        await build.ReturnAsync(await build.SolveAsync(FileOf("/hello.txt", Guid.NewGuid().ToString())));
        var documents = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        await ExportedImage.ReadRegistryAsync(name, documents);
        // The bill of materials comes first.
        Assert.Contains("\"predicateType\":\"https://spdx.dev/Document\"", System.Text.Encoding.UTF8.GetString(documents["layer-1-0.json"]), StringComparison.Ordinal);
        var sbom = Assert.Single(documents.Of(Statements.Sbom));
        Assert.EndsWith("BUILDKIT_SCAN_SOURCE=/run/src/core/sbom;HOME=/;PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; | . .. sbom  | ", sbom.At("comment").GetString(), StringComparison.Ordinal);
        Assert.StartsWith("layerID: sha256:", sbom.At("files")[0].At("comment").GetString(), StringComparison.Ordinal);
        var provenance = Assert.Single(documents.Of(Statements.Provenance));
        Assert.Equal("{}", provenance.At("invocation", "parameters").GetRawText());
        Assert.False(provenance.At("metadata", "completeness", "parameters").GetBoolean());
        Assert.Equal($"pkg:docker/{Uri.EscapeDataString(fixture.Registry.Host)}/base@latest?platform=linux%2Famd64", Assert.Single(provenance.At("materials").EnumerateArray()).At("uri").GetString());
        Assert.Equal(2, provenance.At("buildConfig", "llbDefinition").GetArrayLength());
    }

    [EndToEndFact]
    public async Task A_frontend_attests_its_result_but_not_where_it_comes_from()
    {
        var name = $"{fixture.Registry.Host}/own:v1";
        await using (var build = await StartAsync(name))
        {
            var result = await build.SolveAsync(FileOf("/a", "a"));
            var predicates = await build.SolveAsync(FileOf("/p.json", """{"b":1,"a":2}"""));
            await ReturnAsync(build, result, new Attestation
            {
                Kind = AttestationKind.InToto,
                InTotoPredicateType = "https://example.com/p",
                Path = "/p.json",
                Ref = new Ref { Id = predicates },
                InTotoSubjects = { new InTotoSubject { Kind = InTotoSubjectKind.Raw, Name = "other", Digest = { "sha256:" + new string('1', 64) } }, new InTotoSubject { Kind = InTotoSubjectKind.Self } },
            });
            await build.Solved;
        }
        var documents = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        await ExportedImage.ReadRegistryAsync(name, documents);
        var statement = System.Text.Encoding.UTF8.GetString(documents["layer-1-0.json"]);
        Assert.StartsWith(
            $$$"""{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://example.com/p","subject":[{"name":"other","digest":{"sha256":"{{{new string('1', 64)}}}"}},{"name":"pkg:docker/""",
            statement, StringComparison.Ordinal);
        Assert.EndsWith("""],"predicate":{"b":1,"a":2}}""", statement, StringComparison.Ordinal);

        foreach (var isBundle in new[] { false, true })
        {
            await using var build = await StartAsync(name);
            var predicate = await build.SolveAsync(FileOf("/p.json", """{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v1","predicate":{}}"""));
            await ReturnAsync(build, predicate, new Attestation
            {
                Kind = isBundle ? AttestationKind.Bundle : AttestationKind.InToto,
                InTotoPredicateType = isBundle ? "" : "https://slsa.dev/provenance/v1",
                Path = isBundle ? "/" : "/p.json",
                Ref = new Ref { Id = predicate },
            });
            var error = await Assert.ThrowsAsync<RpcException>(() => build.Solved);
            Assert.Equal($"frontend may not {(isBundle ? "bundle" : "set")} provenance attestations", error.Message);
        }
    }

    private async Task<GatewayDriver> StartAsync(string name, params (string Key, string Value)[] options) => await GatewayDriver.StartAsync(
        fixture.Daemon.Address,
        request =>
        {
            request.Exporters.Add(new Exporter { Type = "image", Attrs = { ["name"] = name, ["push"] = "true" } });
            foreach (var (key, value) in options)
                request.FrontendAttrs[key] = value;
        });

    private static Task ReturnAsync(GatewayDriver build, string reference, Attestation attestation)
    {
        var result = new Result { Ref = new Ref { Id = reference } };
        result.Metadata["refs.platforms"] = ByteString.CopyFromUtf8("""{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}}]}""");
        result.Attestations["linux/amd64"] = new Protocol.Gateway.Attestations { Attestation = { attestation } };
        return build.CallAsync(LLBBridgeMethods.Return, new ReturnRequest { Result = result });
    }
}
