using System.Text;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Llb;
using BuildKit.Tests.Support;
using FsCheck;
using FsCheck.Fluent;

namespace BuildKit.Tests.Dockerfile;

/// <summary>Damaged Dockerfiles: whatever is written, the answer is a result or an error that says where.</summary>
public sealed class FuzzTests
{
    private const int Mutations = 600;

    /// <summary>Errors that belong to no line (spec 05 §12).</summary>
    private static readonly string[] WithoutPlace =
    [
        "the Dockerfile cannot be empty", "target stage", "invalid stage index", "lint violation", "failed to parse check options", "dockerfile contains no stages", "invalid context name",
    ];

    [Fact]
    public async Task Damaged_Dockerfiles_build_or_fail_with_a_place()
    {
        var mutator = new DockerfileMutator(20250221);
        for (var i = 0; i < Mutations; i++)
        {
            var text = mutator.Next();
            var error = await RunAsync(text, i % 2 == 0 ? DockerfileFeatures.Labs : DockerfileFeatures.Mainline);
            var acceptable = error is null || (error is FrontendSourceException placed && AreWithin(placed, text))
                || (error is DockerfileException && WithoutPlace.Any(w => error.Message.StartsWith(w, StringComparison.Ordinal)));
            Assert.True(acceptable, $"{error}\n--- of mutation {i}\n{Short(text)}");
        }
    }

    [Theory]
    [InlineData("frontend.lint", 1)]
    [InlineData("frontend.outline", 2)]
    [InlineData("frontend.targets", 3)]
    public async Task Damaged_Dockerfiles_are_described_or_refused(string request, int seed)
    {
        var mutator = new DockerfileMutator(seed);
        for (var i = 0; i < Mutations / 4; i++)
        {
            var text = mutator.Next();
            var error = await RunAsync(text, DockerfileFeatures.Labs, request);
            Assert.True(error is null or FrontendSourceException or DockerfileException, $"{error}\n--- of mutation {i}\n{Short(text)}");
        }
    }

    [Fact]
    public void What_was_parsed_is_printed_and_parsed_to_the_same() => Prop.ForAll<int>(static seed =>
    {
        var mutator = new DockerfileMutator(seed);
        for (var i = 0; i < 10; i++)
        {
            var text = mutator.Next();
            ParsedDockerfile parsed;
            try
            {
                parsed = DockerfileParser.Parse(text);
            }
            catch (DockerfileException)
            {
                continue; // nothing to print
            }
            var printed = DockerfilePrinter.Print(parsed);
            var again = DockerfileParser.Parse(printed);
            Assert.Equal(parsed.EscapeToken, again.EscapeToken);
            Assert.Equal(parsed.Directives.Select(static d => (d.Name, d.Value)), again.Directives.Select(static d => (d.Name, d.Value)));
            Assert.Equal(parsed.Nodes.Select(Describe), again.Nodes.Select(Describe));
            Assert.Equal(printed, DockerfilePrinter.Print(again));
        }
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void Any_text_is_lexed_or_refused() => Prop.ForAll<string>(static text =>
    {
        foreach (var options in new[] { new ShellOptions('\\'), new ShellOptions('`') { RawQuotes = true, RawEscapes = true, SkipUnset = true } })
            Refused(() => ShellLexer.Expand(text ?? "", EmptyEnvironment.Instance, options));
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void Any_text_is_parsed_or_refused() => Prop.ForAll<string, string>(static (first, second) =>
    {
        Refused(() => new InstructionParser(DockerfileFeatures.Labs, Linter.Silent).ParseProgram(DockerfileParser.Parse($"FROM {first}\nRUN --mount={second} {first} <<{second}\n")));
        Refused(() => MountOption.Parse(first ?? "", static v => v));
        Refused(() => DeviceOption.Parse(second ?? ""));
        Refused(() => LintOptions.Parse(first + "=" + second));
        IgnoreFile.Parse(Encoding.UTF8.GetBytes(first + "\n" + second));
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void A_value_without_dollar_quote_or_escape_stays_as_it_is() => Prop.ForAll<string>(static text =>
    {
        var plain = string.Concat((text ?? "").Where(static c => char.IsLetterOrDigit(c) && !char.IsSurrogate(c)));
        return ShellLexer.Expand(plain, EmptyEnvironment.Instance, new ShellOptions('\\')).Word == plain
            && ShellLexer.Expand("${V}", EnvironmentList.Empty.Set("V", plain), new ShellOptions('\\')).Word == plain;
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void Very_deep_nesting_is_refused_not_fatal()
    {
        var nested = string.Concat(Enumerable.Repeat("${A:-", 20000)) + new string('}', 20000);
        Assert.Throws<DockerfileException>(() => ShellLexer.Expand(nested, EmptyEnvironment.Instance, new ShellOptions('\\')));
        var triggers = "FROM a\n" + string.Concat(Enumerable.Repeat("ONBUILD ", 5000)) + "RUN x\n";
        Assert.Throws<DockerfileException>(() => new InstructionParser(DockerfileFeatures.Mainline, Linter.Silent).ParseProgram(DockerfileParser.Parse(triggers)));
    }

    private static void Refused(Action action)
    {
        try
        {
            action();
        }
        catch (DockerfileException)
        {
            return; // the expected way to say no
        }
    }

    /// <summary>Everything of an instruction but its place, in one text.</summary>
    private static string Describe(DockerfileNode node) => string.Join('\u0001',
    [
        node.Name, node.Original.Trim(), node.IsJson.ToString(), "flags", .. node.Flags, "arguments", .. node.Arguments, "comments", .. node.Comments,
        "heredocs", .. node.Heredocs.Select(static h => h.ToString()), "inner", node.Inner is { } inner ? Describe(inner) : "",
    ]);

    /// <summary>Whether an error names lines that the file has.</summary>
    private static bool AreWithin(FrontendSourceException error, string text)
    {
        var lines = text.Split('\n').Length;
        return error.Sources.Count > 0 && error.Sources.All(source => source.Ranges.All(range => range.StartLine >= 0 && range.StartLine <= lines && range.EndLine <= lines));
    }

    private static string Short(string text) => text.Length < 4000 ? text : $"{text[..2000]}…({text.Length})…{text[^1000..]}";

    private static async Task<Exception?> RunAsync(string dockerfile, DockerfileFeatures features, string request = "")
    {
        var folder = Directory.CreateTempSubdirectory("dockerfile-fuzz-");
        try
        {
            await File.WriteAllBytesAsync(Path.Combine(folder.FullName, "Dockerfile"), Encoding.UTF8.GetBytes(dockerfile));
            var options = new FrontendBuildOptions
            {
                Opts = request.Length == 0
                    ? new Dictionary<string, string>(StringComparer.Ordinal) { ["cmdline"] = "" }
                    : new Dictionary<string, string>(StringComparer.Ordinal) { ["cmdline"] = "", ["requestid"] = request },
                SessionId = "session",
                WorkerPlatforms = [new("linux", "amd64")],
                LlbCaps = LlbCaps.All.Everything(),
                GatewayCaps = GatewayCaps.All.Everything(),
            };
            await new DockerfileFrontend(features).BuildAsync(new RecordingClient(options, _ => folder.FullName), CancellationToken.None).WaitAsync(TimeSpan.FromMinutes(1));
            return null;
        }
        catch (Exception e)
        {
            return e;
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
