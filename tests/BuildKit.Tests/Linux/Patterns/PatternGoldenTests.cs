using System.Text;
using System.Text.Json;
using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Linux.Patterns;

public sealed class PatternGoldenTests
{
    public static TheoryData<int> PatternCases => Cases("patterns.json").Numbers();

    public static TheoryData<int> IgnoreFileCases => Cases("dockerignore.json").Numbers();

    [GoldenTheory]
    [MemberData(nameof(PatternCases))]
    public void Every_pattern_matches_as_the_reference_does(int number)
    {
        var item = Cases("patterns.json").ElementAt(number);
        var patterns = item.GetProperty("patterns").EnumerateArray().Select(value => value.GetString()!).ToList();
        var path = item.GetProperty("path").GetString()!;
        var expected = item.TryGetProperty("error", out var error)
            ? error.GetString()!
            : $"{item.GetProperty("matches_or_parent").GetBoolean()} {item.GetProperty("matches_using_parents").GetBoolean()} {Compiled(item)}";
        Assert.Equal($"[{string.Join(',', patterns)}] on '{path}': {expected}", $"[{string.Join(',', patterns)}] on '{path}': {Run(patterns, path)}");
    }

    [GoldenTheory]
    [MemberData(nameof(IgnoreFileCases))]
    public void Every_ignore_file_is_read_as_the_reference_does(int number)
    {
        var item = Cases("dockerignore.json").ElementAt(number);
        var content = Content(item);
        string actual;
        try
        {
            var patterns = IgnoreFile.Parse(content);
            actual = item.TryGetProperty("pattern_lengths", out _)
                ? string.Join(',', patterns.Select(pattern => LinuxText.Encode(pattern).Length))
                : string.Join('\u0001', patterns);
        }
        catch (PatternSyntaxException bad)
        {
            actual = "error: " + bad.Message;
        }
        var expected = item.TryGetProperty("error", out var error) ? "error: " + error.GetString()
            : item.TryGetProperty("pattern_lengths", out var lengths) ? string.Join(',', lengths.EnumerateArray())
            : item.TryGetProperty("patterns_b64", out var raw) ? string.Join('\u0001', raw.EnumerateArray().Select(value => LinuxText.Decode(value.GetBytesFromBase64())))
            : string.Join('\u0001', item.GetProperty("patterns").EnumerateArray());
        Assert.Equal(expected, actual);
    }

    private static string Compiled(JsonElement item) =>
        item.TryGetProperty("compiled", out var compiled) ? string.Join('|', compiled.EnumerateArray()) : "";

    private static string Run(List<string> patterns, string path)
    {
        PatternMatcher matcher;
        try
        {
            matcher = new PatternMatcher(patterns);
        }
        catch (PatternSyntaxException bad)
        {
            return bad.Message;
        }
        try
        {
            var whole = matcher.MatchesOrParentMatches(path);
            var stepwise = false;
            MatchInfo info = default;
            for (var end = path.IndexOf('/'); ; end = path.IndexOf('/', end + 1))
            {
                stepwise = matcher.Matches(end < 0 ? path : path[..end], info, out info);
                if (end < 0)
                    break;
            }
            var texts = matcher.Patterns.Select(pattern => (pattern.IsException ? "!" : "") + pattern.Text);
            return $"{whole} {stepwise} {string.Join('|', texts)}";
        }
        catch (PatternSyntaxException bad)
        {
            return "matching: " + bad.Message;
        }
    }

    private static byte[] Content(JsonElement item)
    {
        if (item.TryGetProperty("b64", out var raw))
            return raw.GetBytesFromBase64();
        if (!item.TryGetProperty("repeat", out var repeat))
            return Encoding.UTF8.GetBytes(item.GetProperty("text").GetString()!);
        var text = new StringBuilder();
        for (var i = 0; i < repeat.GetProperty("count").GetInt32(); i++)
            text.Append(repeat.GetProperty("text").GetString());
        return Encoding.UTF8.GetBytes(text.Append(repeat.GetProperty("tail").GetString()).ToString());
    }

    private static IEnumerable<JsonElement> Cases(string file) => Golden.List(Golden.Path("filesync", file));
}
