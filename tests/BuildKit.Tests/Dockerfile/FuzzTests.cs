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

    private static readonly string[] Tokens =
    [
        "FROM", "RUN", "COPY", "ADD", "ARG", "ENV", "ONBUILD ", "HEALTHCHECK", "SHELL", "\\", "`", "<<EOF", "<<-\"E O F\"", "EOF\n", "$", "${", "${A:-", "}", "${X//",
        "\"", "'", "[", "]", "[\"a\",", "--from=", "--mount=type=cache,", "--link", "--chmod=", "--platform=$X", " AS ", "#", "# check=error=true\n", "=", ",", "\n", "\r\n", "\t",
        "\0", "\uFEFF", "日", "\U0001F600", "/", "..", "http://h/x", "https://h/x.git#a:b", "git@h:x", "sha256:", "-1", "99999999999999999999", "*", "?",
    ];

    /// <summary>Errors that belong to no line (spec 05 §12).</summary>
    private static readonly string[] WithoutPlace =
    [
        "the Dockerfile cannot be empty", "target stage", "invalid stage index", "lint violation", "failed to parse check options", "dockerfile contains no stages", "invalid context name",
    ];

    [Fact]
    public async Task Damaged_Dockerfiles_build_or_fail_with_a_place()
    {
        var files = GoldenVector.Names.Select(static n => Golden.Path("dockerfile", n, "dockerfile", "Dockerfile")).Where(File.Exists).Select(File.ReadAllText).ToArray();
        var random = new Random(20250221);
        for (var i = 0; i < Mutations; i++)
        {
            var text = Mutate(files, random);
            var error = await RunAsync(text, i % 2 == 0 ? DockerfileFeatures.Labs : DockerfileFeatures.Mainline);
            var acceptable = error is null or FrontendSourceException
                || (error is DockerfileException && WithoutPlace.Any(w => error.Message.StartsWith(w, StringComparison.Ordinal)));
            Assert.True(acceptable, $"{error}\n--- of\n{text}");
        }
    }

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

    private static string Mutate(string[] files, Random random)
    {
        var text = new StringBuilder(files[random.Next(files.Length)]);
        for (var edits = random.Next(1, 6); edits > 0; edits--)
        {
            var at = random.Next(text.Length + 1);
            switch (random.Next(5))
            {
                case 0:
                    text.Insert(at, Tokens[random.Next(Tokens.Length)]);
                    break;
                case 1:
                    text.Remove(at, Math.Min(random.Next(1, 8), text.Length - at));
                    break;
                case 2:
                    text.Length = at;
                    break;
                case 3 when at < text.Length:
                    text[at] = (char)random.Next(1, 127);
                    break;
                default:
                    var lines = files[random.Next(files.Length)].Split('\n');
                    text.Insert(at, lines[random.Next(lines.Length)] + "\n");
                    break;
            }
        }
        return text.ToString();
    }

    private static async Task<Exception?> RunAsync(string dockerfile, DockerfileFeatures features)
    {
        var folder = Directory.CreateTempSubdirectory("dockerfile-fuzz-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "Dockerfile"), dockerfile);
            var options = new FrontendBuildOptions
            {
                Opts = new Dictionary<string, string>(StringComparer.Ordinal) { ["cmdline"] = "" },
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
