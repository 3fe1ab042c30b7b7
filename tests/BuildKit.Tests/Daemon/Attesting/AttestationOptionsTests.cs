using BuildKit.Daemon.Attesting;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Tests.Daemon.Attesting;

/// <summary>How attestations are asked for (spec 07 §9.1).</summary>
public sealed class AttestationOptionsTests
{
    private static AttestationOptions Parse(params (string Key, string Value)[] options) =>
        AttestationOptions.Parse(options.ToDictionary(option => option.Key, option => option.Value, StringComparer.Ordinal));

    [Theory]
    [InlineData("attest:provenance", "", "")]
    [InlineData("attest:PROVENANCE", "mode=min,inline-only=true", "inline-only=true|mode=min")]
    [InlineData("build-arg:BUILDKIT_ATTEST_PROVENANCE", "mode=max", "mode=max")]
    [InlineData("attest:provenance", "disabled", "disabled=")]
    [InlineData("attest:provenance", "builder-id=https://x/?a=b,\"filename=a,b\"", "builder-id=https://x/?a=b|filename=a,b")]
    public void A_type_that_is_there_is_wanted(string key, string value, string settings)
    {
        var options = Parse((key, value), ("build-arg:BUILDKIT_OTHER", "x"), ("label:attest:sbom", "x"));
        Assert.Null(options.Sbom);
        Assert.Equal(settings, string.Join('|', options.Provenance!.Select(setting => $"{setting.Key}={setting.Value}")));
    }

    [Fact]
    public void Nothing_is_wanted_unasked()
    {
        var options = Parse(("build-arg:ATTEST", "1"));
        Assert.Null(options.Sbom);
        Assert.Null(options.Provenance);
    }

    [Theory]
    [InlineData("attest:foo", "", "unknown attestation type \"foo\"")]
    [InlineData("attest:", "", "unknown attestation type \"\"")]
    [InlineData("attest:Foo", "\"", "failed to parse foo: parse error on line 1, column 2: extraneous or missing \" in quoted-field")]
    [InlineData("attest:sbom", "a\"b", "failed to parse sbom: parse error on line 1, column 2: bare \" in non-quoted-field")]
    public void What_is_malformed_is_refused(string key, string value, string message) =>
        Assert.Equal(message, Assert.Throws<DockerfileException>(() => Parse((key, value))).Message);

    [Theory]
    [InlineData("", "docker.io/docker/buildkit-syft-scanner:stable-1", "")]
    [InlineData("generator=scan,FOO=bar,baz", "docker.io/library/scan:latest", "FOO=bar|baz=")]
    [InlineData("generator=127.0.0.1:5000/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "127.0.0.1:5000/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "")]
    public void A_scanner_has_a_full_name_and_parameters(string value, string generator, string parameters)
    {
        var request = SbomRequest.Of(Parse(("attest:sbom", value)).Sbom!, "generator");
        Assert.Equal(generator, request.Generator);
        Assert.Equal(parameters, string.Join('|', request.Parameters.Select(parameter => $"{parameter.Key}={parameter.Value}")));
    }

    [Theory]
    [InlineData("generator=", "sbom generator cannot be empty")]
    [InlineData("generator=a b", "failed to parse sbom generator a b: invalid reference format")]
    public void A_scanner_must_be_an_image(string value, string message) =>
        Assert.Equal(message, Assert.Throws<DockerfileException>(() => SbomRequest.Of(Parse(("attest:sbom", value)).Sbom!, "generator")).Message);

    [Theory]
    [InlineData("", true, "", "provenance.json", false, false)]
    [InlineData("mode=full", true, "", "provenance.json", false, false)]
    [InlineData("mode=max,builder-id=b,filename=f.json,reproducible=T,inline-only=1", true, "b", "f.json", true, true)]
    [InlineData("mode=min,inline-only=perhaps,version=v1,disabled=true,capture-usage=x", false, "", "provenance.json", false, false)]
    public void Provenance_tells_everything_unless_told_otherwise(string value, bool isMax, string builder, string file, bool reproducible, bool inline)
    {
        var options = ProvenanceOptions.Parse(Parse(("attest:provenance", value)).Provenance!);
        Assert.Equal((isMax, builder, file, reproducible, inline), (options.IsMax, options.BuilderId, options.FileName, options.IsReproducible, options.IsInlineOnly));
    }

    [Theory]
    [InlineData("mode=MIN", "invalid mode \"MIN\"")]
    [InlineData("mode=", "invalid mode \"\"")]
    [InlineData("reproducible=", "failed to parse reproducible flag \"\": strconv.ParseBool: parsing \"\": invalid syntax")]
    [InlineData("reproducible=tRUE,mode=x", "failed to parse reproducible flag \"tRUE\": strconv.ParseBool: parsing \"tRUE\": invalid syntax")]
    public void Wrong_settings_of_provenance_are_refused(string value, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => ProvenanceOptions.Parse(Parse(("attest:provenance", value)).Provenance!)).Message);
}
