using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Llb;

namespace BuildKit.IntegrationTests.Language;

/// <summary><c>--source-policy-file</c>: which sources a build may have, and what it gets instead.</summary>
public sealed class PolicyTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private string Image => "docker-image://" + fixture.Base;

    private string Denied => $"source \"{Image}\" denied by policy: source denied by policy\n";

    [EndToEndTheory]
    [InlineData("""{"action":"DENY","selector":{"identifier":"@IMAGE@"}}""")]
    [InlineData("""{"action":"DENY","selector":{"identifier":"docker-image://*"}}""")]
    [InlineData("""{"action":1,"selector":{"identifier":"base:lat","match_type":"REGEX"}}""")]
    [InlineData("""{"action":"ALLOW","selector":{"identifier":"@IMAGE@"}},{"action":"DENY","selector":{"identifier":"@IMAGE@","match_type":"EXACT"}}""")]
    public async Task A_denied_base_image_fails_the_build(string rules)
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN true\n");
        var failed = (await BuildAsync(context, rules)).Failed();
        Assert.Contains($"   1 | >>> FROM {fixture.Base}\n", failed.Errors, StringComparison.Ordinal);
        Assert.EndsWith($"error: failed to solve: {fixture.Base}: failed to resolve source metadata for {fixture.Base}: could not resolve image due to policy: {Denied}", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_denied_image_of_a_definition_fails_the_build()
    {
        var definition = new MemoryStream();
        await State.Image(fixture.Base).RunShell("true").WriteDefinitionAsync(definition);
        using var context = new ContextDirectory().Write("policy.json", Policy("""{"action":"DENY","selector":{"identifier":"@IMAGE@"}}"""));
        var failed = (await fixture.Client.RunAsync(["build", "--progress=plain", "--source-policy-file", context["policy.json"]], definition.ToArray())).Failed();
        Assert.EndsWith("error: failed to solve: failed to load LLB: error evaluating the source policy: " + Denied, failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_denied_context_fails_the_build()
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY Dockerfile /\n");
        var failed = (await BuildAsync(context, """{"action":"DENY","selector":{"identifier":"local://context"}}""")).Failed();
        Assert.Contains("error evaluating the source policy: source \"local://context\" denied by policy: source denied by policy\n", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task The_last_rule_that_matches_decides()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN true\n");
        (await BuildAsync(context, """{"action":"DENY","selector":{"identifier":"docker-image://*"}},{"action":"ALLOW","selector":{"identifier":"@IMAGE@*"}}""")).Succeeded();
    }

    [EndToEndTheory]
    [InlineData("""{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/some/image:tag"},"updates":{"identifier":"@IMAGE@"}}""")]
    [InlineData("""{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/some/*:*"},"updates":{"identifier":"@IMAGE@"}}""")]
    [InlineData("""{"action":"CONVERT","selector":{"identifier":"^docker-image://docker.io/some/.*$","match_type":"REGEX"},"updates":{"identifier":"@IMAGE@"}}""")]
    public async Task A_converted_image_is_used_instead(string rules)
    {
        using var context = new ContextDirectory($"FROM some/image:tag\nRUN echo {Guid.NewGuid():N} > /there\n");
        (await BuildAsync(context, rules)).Succeeded();
        var definition = new MemoryStream();
        await State.Image("some/image:tag").RunShell("true").WriteDefinitionAsync(definition);
        context.Write("policy.json", Policy(rules));
        (await fixture.Client.RunAsync(["build", "--progress=plain", "--source-policy-file", context["policy.json"]], definition.ToArray())).Succeeded();
    }

    [EndToEndFact]
    public async Task Attributes_of_a_source_can_be_conditions()
    {
        const string rules = """{"action":"DENY","selector":{"identifier":"docker-image://*","constraints":[{"key":"image.resolvemode","value":"local","condition":"EQUAL"}]}}""";
        using var context = new ContextDirectory().Write("policy.json", Policy(rules));
        foreach (var (mode, denied) in new[] { (ImageResolveMode.Default, false), (ImageResolveMode.PreferLocal, true) })
        {
            var definition = new MemoryStream();
            await State.Image(fixture.Base, new ImageOptions { ResolveMode = mode }).RunShell("true").WriteDefinitionAsync(definition);
            var build = await fixture.Client.RunAsync(["build", "--progress=plain", "--source-policy-file", context["policy.json"]], definition.ToArray());
            Assert.Equal(denied ? 1 : 0, build.ExitCode);
        }
    }

    [EndToEndTheory]
    [InlineData("""{"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://*"}}]}""", "missing destination for convert rule")]
    [InlineData("""{"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://*"},"updates":{"identifier":"docker-image://${1}x"}}]}""", "too many mutations on a single source: too many operations")]
    [InlineData("""{"rules":[{"action":"DENY"}]}""", "invalid nil selector in policy")]
    public async Task A_policy_that_makes_no_sense_is_told(string policy, string error)
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\n").Write("policy.json", policy);
        var failed = (await fixture.Client.BuildPlainAsync(context, "--source-policy-file", context["policy.json"])).Failed();
        Assert.Contains(error, failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_policy_file_that_cannot_be_read_is_told()
    {
        using var context = new ContextDirectory("FROM scratch\n").Write("policy.json", """{"rules":[{"action":"deny"}]}""");
        var failed = (await fixture.Client.BuildPlainAsync(context, "--source-policy-file", context["policy.json"])).Failed();
        Assert.Contains($"error: failed to unmarshal source-policy-file \"{context["policy.json"]}\": unrecognized enum ALLOW value \"deny\"", failed.Errors, StringComparison.Ordinal);
        failed = (await fixture.Client.BuildPlainAsync(context, "--source-policy-file", context["none.json"])).Failed();
        Assert.Contains($"error: open {context["none.json"]}: no such file or directory", failed.Errors, StringComparison.Ordinal);
    }

    private Task<ProgramResult> BuildAsync(ContextDirectory context, string rules)
    {
        context.Write("policy.json", Policy(rules));
        return fixture.Client.BuildPlainAsync(context, "--source-policy-file", context["policy.json"]);
    }

    private string Policy(string rules) => $$"""{"version":1,"rules":[{{rules.Replace("@IMAGE@", Image, StringComparison.Ordinal)}}]}""";
}
