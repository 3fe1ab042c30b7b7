using System.Text;
using System.Text.Json;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Llb;

public sealed class SourcePolicyGoldenTests
{
    public static TheoryData<int> Vectors() => Golden.List(Golden.Path("llb", "policy-vectors.json"), "vectors").Numbers();

    [GoldenTheory]
    [MemberData(nameof(Vectors))]
    public void Policies_decide_as_the_reference_does(int number)
    {
        using var file = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("llb", "policy-vectors.json")));
        var vector = file.RootElement.GetProperty("vectors")[number];
        var error = vector.TryGetProperty("error", out var text) ? text.GetString()! : "";
        var source = new SourceOp { Identifier = vector.GetProperty("identifier").GetString()! };
        foreach (var (key, value) in Map(vector, "attrs"))
            source.Attrs.Add(key, value);

        var policy = Encoding.UTF8.GetBytes(vector.GetProperty("policy").GetRawText());
        var changed = false;
        try
        {
            changed = new SourcePolicyEngine(SourcePolicyJson.Parse(policy)).Evaluate(source);
            Assert.Equal("", error);
        }
        catch (LlbException e)
        {
            if (error.StartsWith("unmarshal: ", StringComparison.Ordinal))
            {
                Assert.Equal(error["unmarshal: ".Length..], e.Message);
                return;
            }

            if (error.Contains("error parsing regexp", StringComparison.Ordinal))
                Assert.StartsWith("error matching source policy: error parsing regexp: ", e.Message, StringComparison.Ordinal);
            else
                Assert.Equal(error, e.Message);
            changed = vector.GetProperty("mutated").GetBoolean();
        }

        Assert.Equal(vector.GetProperty("mutated").GetBoolean(), changed);
        Assert.Equal(vector.GetProperty("outIdentifier").GetString(), source.Identifier);
        Assert.Equal(Map(vector, "outAttrs"), source.Attrs.OrderBy(attribute => attribute.Key, StringComparer.Ordinal).ToDictionary());
    }

    [Fact]
    public void Every_policy_must_allow_and_a_conversion_starts_over_with_the_first()
    {
        var allow = SourcePolicyJson.Parse("""{"rules":[{"selector":{"identifier":"*"}}]}"""u8);
        var deny = SourcePolicyJson.Parse("""{"rules":[{"action":"DENY","selector":{"identifier":"b"}}]}"""u8);
        var convert = SourcePolicyJson.Parse("""{"rules":[{"action":"CONVERT","selector":{"identifier":"a"},"updates":{"identifier":"b"}}]}"""u8);
        Assert.False(new SourcePolicyEngine(allow, deny).Evaluate(new SourceOp { Identifier = "a" }));
        Assert.Throws<LlbException>(() => new SourcePolicyEngine(allow, deny).Evaluate(new SourceOp { Identifier = "b" }));
        Assert.Throws<LlbException>(() => new SourcePolicyEngine(deny, convert).Evaluate(new SourceOp { Identifier = "a" }));
    }

    [Theory]
    [InlineData(@"^docker-image://(?P<name>[[:alnum:]/.]+):\d+$", "docker-image://a.b/c:12", true)]
    [InlineData(@"^a$", "a\n", false)]
    [InlineData(@"\Qa.b\E", "axb", false)]
    [InlineData(@"\w", "é", false)]
    [InlineData(@"[^[:digit:]]", "7", false)]
    public void Patterns_mean_what_they_mean_in_re2(string pattern, string identifier, bool matches)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(new { rules = new[] { new { action = "DENY", selector = new { identifier = pattern, match_type = "REGEX" } } } });
        var engine = new SourcePolicyEngine(SourcePolicyJson.Parse(json));
        if (matches)
            Assert.Throws<LlbException>(() => engine.Evaluate(new SourceOp { Identifier = identifier }));
        else
            Assert.False(engine.Evaluate(new SourceOp { Identifier = identifier }));
    }

    [Fact]
    public void Policies_are_written_without_zero_values()
    {
        const string json = """{"version":1,"rules":[{"selector":{"identifier":"x","match_type":"REGEX","constraints":[{"key":"k","value":"v","condition":"NOTEQUAL"}]}},{"action":"DENY","selector":{"identifier":"y"}}]}""";
        Assert.Equal(json, Encoding.UTF8.GetString(SourcePolicyJson.Format(SourcePolicyJson.Parse(Encoding.UTF8.GetBytes(json)))));
    }

    [Fact]
    public void A_rule_without_selector_is_refused() =>
        Assert.Equal(
            "invalid nil selector in policy",
            Assert.Throws<LlbException>(() => new SourcePolicyEngine(SourcePolicyJson.Parse("""{"rules":[{}]}"""u8))).Message);

    private static Dictionary<string, string> Map(JsonElement vector, string name) =>
        vector.TryGetProperty(name, out var map)
            ? map.EnumerateObject().ToDictionary(member => member.Name, member => member.Value.GetString()!)
            : [];
}
