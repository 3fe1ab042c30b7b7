using System.Text;
using System.Text.Json;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Text;
using BuildKit.Oci;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Dockerfile;

/// <summary>The rule tables beside the vectors.</summary>
public sealed class RuleTableGoldenTests
{
    public static TheoryData<int> LexCases => Golden.List(Golden.Path("dockerfile", "_lex.json"), "cases").Numbers();

    /// <summary>The rows of a table that is a plain list.</summary>
    public static TheoryData<int> Rows(string table) => Golden.List(Golden.Path("dockerfile", table)).Numbers();

    [GoldenTheory]
    [MemberData(nameof(LexCases))]
    public void Shell_words_expand_like_the_table(int index)
    {
        var table = Table("_lex.json");
        var environment = EnvironmentList.Empty;
        foreach (var entry in table.GetProperty("env").EnumerateArray())
        {
            var parts = entry.GetString()!.Split('=', 2);
            environment = environment.Set(parts[0], parts[1]);
        }
        var test = table.GetProperty("cases")[index];
        var text = test.GetProperty("in").GetString()!;
        (string Mode, ShellOptions Options)[] modes =
        [
            ("default", new ShellOptions('\\')),
            ("backtick", new ShellOptions('`')),
            ("rawQuotesSkipUnset", new ShellOptions('\\') { RawQuotes = true, SkipUnset = true }),
            ("skipProcessQuotes", new ShellOptions('\\') { SkipProcessQuotes = true }),
        ];
        foreach (var (mode, options) in modes)
        {
            var wanted = test.GetProperty(mode);
            string found;
            try
            {
                var expansion = ShellLexer.Expand(text, environment, options);
                found = $"{expansion.Word}\n{string.Join('|', expansion.Words)}";
                if (wanted.TryGetProperty("unmatched", out var unmatched) && unmatched.ValueKind == JsonValueKind.Array)
                    Assert.Equal(Strings(unmatched), expansion.Unmatched.Order(StringComparer.Ordinal));
                if (wanted.TryGetProperty("matched", out var matched) && matched.ValueKind == JsonValueKind.Array)
                    Assert.Equal(Strings(matched), expansion.Matched.Order(StringComparer.Ordinal));
            }
            catch (DockerfileException e)
            {
                found = e.Message;
            }
            var expected = wanted.TryGetProperty("error", out var error) && error.GetString() is { } message
                ? message
                : $"{wanted.GetProperty("word").GetString()}\n{string.Join('|', Strings(wanted.GetProperty("words")))}";
            Assert.Equal($"{mode}: {text} -> {expected}", $"{mode}: {text} -> {found}");
        }
    }

    [GoldenTheory]
    [MemberData(nameof(Rows), "_parse.json")]
    public void Dockerfiles_parse_like_the_table(int index)
    {
        var test = Table("_parse.json")[index];
        var text = test.GetProperty("in").GetString()!;
        ParsedDockerfile parsed;
        try
        {
            parsed = DockerfileParser.Parse(text);
        }
        catch (DockerfileException e)
        {
            Assert.Equal(test.TryGetProperty("error", out var error) ? error.GetString() : $"no error for {text}", e.Message);
            return;
        }
        Assert.False(test.TryGetProperty("error", out _), text);
        Assert.Equal(test.GetProperty("escape").GetString(), parsed.EscapeToken.ToString());
        Assert.Equal(test.GetProperty("nodes").EnumerateArray().Select(Print), parsed.Nodes.Select(Print));
        Assert.Equal(Strings(test.GetProperty("warnings")), parsed.Warnings.Select(static w => $"{w.Location.StartLine}: {w.Message}"));
        string? instructionError = null;
        try
        {
            new InstructionParser(DockerfileFeatures.Mainline, Linter.Silent).ParseProgram(parsed);
        }
        catch (DockerfileException e)
        {
            instructionError = e.Message;
        }
        Assert.Equal(test.TryGetProperty("instructionError", out var wanted) ? wanted.GetString() : null, instructionError);
    }

    [GoldenTheory]
    [MemberData(nameof(Rows), "_directives.json")]
    public void Directives_are_found_like_the_table_says(int index)
    {
        var test = Table("_directives.json")[index];
        var bytes = Encoding.UTF8.GetBytes(test.GetProperty("in").GetString()!);
        var syntax = DirectiveDetector.FindSyntax(bytes);
        Assert.Equal(test.GetProperty("ok").GetBoolean(), syntax is not null);
        Assert.Equal(test.GetProperty("ref").GetString(), syntax?.Reference ?? "");
        Assert.Equal(test.GetProperty("cmdline").GetString(), syntax?.Value ?? "");
        if (test.TryGetProperty("line", out var line))
            Assert.Equal(line.GetInt32(), syntax!.Line);
        Assert.Equal(test.GetProperty("check").GetString(), DirectiveDetector.FindCheck(bytes)?.Value ?? "");
    }

    [GoldenTheory]
    [MemberData(nameof(Rows), "_dockerignore.json")]
    public void Ignore_files_are_read_like_the_table_says(int index)
    {
        var test = Table("_dockerignore.json")[index];
        Assert.Equal(Strings(test.GetProperty("out")), IgnoreFile.Parse(Encoding.UTF8.GetBytes(test.GetProperty("in").GetString()!)));
    }

    [GoldenTheory]
    [MemberData(nameof(Rows), "_gitref.json")]
    public void Git_references_are_read_like_the_table_says(int index)
    {
        var test = Table("_gitref.json")[index];
        var text = test.GetProperty("in").GetString()!;
        var git = GitReference.Parse(text, out var reason);
        if (test.TryGetProperty("error", out var error))
        {
            Assert.True(git is null, text);
            Assert.Equal($"{text}: {error.GetString()}", $"{text}: {reason}");
            return;
        }
        Assert.True(git is not null, text);
        Assert.Equal(test.GetProperty("remote").GetString(), git.Remote);
        Assert.Equal(test.GetProperty("commit").GetString(), git.Commit);
        Assert.Equal(test.GetProperty("subDir").GetString(), git.Subdirectory);
        Assert.Equal(test.GetProperty("shortName").GetString(), git.ShortName);
        Assert.Equal(test.GetProperty("indistinguishableFromLocal").GetBoolean(), git.LooksLocal);
    }

    [GoldenTheory]
    [MemberData(nameof(Rows), "_suggest.json")]
    public void Suggestions_are_those_of_the_table(int index)
    {
        var test = Table("_suggest.json")[index];
        var found = Suggestion.Search(test.GetProperty("value").GetString()!, Strings(test.GetProperty("options")), test.GetProperty("caseSensitive").GetBoolean());
        Assert.Equal(test.GetProperty("ok").GetBoolean() ? test.GetProperty("match").GetString() : null, found);
    }

    [GoldenTheory]
    [MemberData(nameof(Rows), "_platform.json")]
    public void Platforms_are_read_like_the_table_says(int index)
    {
        var test = Table("_platform.json")[index];
        var text = test.GetProperty("in").GetString()!;
        if (test.TryGetProperty("error", out var error))
        {
            Assert.Equal(error.GetString(), Assert.ThrowsAny<FormatException>(() => Platform.Parse(text)).Message);
            return;
        }
        var platform = Platform.Parse(text);
        Assert.Equal(Strings(test.GetProperty("parsed")), Parts(platform));
        Assert.Equal(Strings(test.GetProperty("normalized")), Parts(platform.Normalize()));
        Assert.Equal(test.GetProperty("format").GetString(), platform.Format());
        Assert.Equal(test.GetProperty("formatAll").GetString(), platform.FormatAll());

        static string[] Parts(Platform p) => [p.Os, p.Architecture, p.Variant, p.OsVersion];
    }

    private static string Print(JsonElement node) => string.Join('\n',
        node.GetProperty("name").GetString(),
        node.GetProperty("original").GetString(),
        string.Join('|', Strings(node.GetProperty("flags"))),
        string.Join('|', Strings(node.GetProperty("args"))),
        node.GetProperty("json").GetBoolean(),
        node.GetProperty("start").GetInt32() + "-" + node.GetProperty("end").GetInt32(),
        string.Join('|', Strings(node.GetProperty("prevComment"))),
        string.Join('|', node.GetProperty("heredocs").EnumerateArray().Select(static h => $"{h.GetProperty("fd").GetInt32()} {h.GetProperty("name").GetString()} {h.GetProperty("expand").GetBoolean()} {h.GetProperty("chomp").GetBoolean()} {h.GetProperty("content").GetString()}")));

    private static string Print(DockerfileNode node) => string.Join('\n',
        node.Name,
        node.Original,
        string.Join('|', node.Flags),
        node.Inner is null ? string.Join('|', node.Arguments) : "", // the table leaves the inner instruction out
        node.IsJson,
        node.StartLine + "-" + node.EndLine,
        string.Join('|', node.Comments),
        string.Join('|', node.Heredocs.Select(static h => $"{h.FileDescriptor} {h.Name} {h.Expand} {h.Chomp} {h.Content}")));

    private static IEnumerable<string> Strings(JsonElement array) => array.ValueKind == JsonValueKind.Null ? [] : [.. array.EnumerateArray().Select(static e => e.GetString()!)];

    private static JsonElement Table(string name)
    {
        return Golden.Json("dockerfile", name);
    }
}
