using System.Text;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>Warnings of a build, and the questions a client can ask about a Dockerfile, as users see them.</summary>
public sealed class LintTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private const string Careless = """
        FROM @BASE@ as Base
        maintainer Somebody
        LABEL a b
        ENV API_TOKEN=1
        ENV X=$UNDEFINED
        WORKDIR rel
        CMD echo 1
        CMD echo 2
        RUN echo \

          done
        FROM --platform=linux/amd64 @BASE@ AS scratch
        COPY --from=Base /etc/group /
        CMD ["true"]
        """;

    [EndToEndFact]
    public async Task A_build_warns_with_rule_text_and_line()
    {
        using var context = Context(Careless);
        var build = (await fixture.Client.BuildAsync(context)).Succeeded();
        Assert.Equal(
        [
            "ConsistentInstructionCasing: Command 'maintainer' should match the case of the command majority (uppercase) (line 2)",
            "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line 12)",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 7)",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 8)",
            "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 3)",
            "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 7)",
            "NoEmptyContinuation: Empty continuation line (line 11)",
            "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 12)",
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"API_TOKEN\") (line 4)",
            "StageNameCasing: Stage name 'Base' should be lowercase (line 1)",
            "UndefinedVar: Usage of undefined variable '$UNDEFINED' (line 5)",
            "WorkdirRelativePath: Relative workdir \"rel\" can have unexpected results if the base image changes (line 6)",
        ],
        build.Trace.Warnings.Order(StringComparer.Ordinal));
    }

    [EndToEndFact]
    public async Task The_plain_display_shows_every_warning()
    {
        using var context = Context("FROM @BASE@ AS Base\nLABEL a b\n");
        var build = (await fixture.Client.BuildPlainAsync(context)).Succeeded();
        Assert.Contains("WARN: StageNameCasing: Stage name 'Base' should be lowercase (line 1)\n", build.Errors, StringComparison.Ordinal);
        Assert.Contains("WARN: LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 2)\n", build.Errors, StringComparison.Ordinal);
    }

    [EndToEndTheory]
    [InlineData("error=true", "", "lint violation found for rules: StageNameCasing, LegacyKeyValueFormat")]
    [InlineData("error=true;skip=StageNameCasing", "", "lint violation found for rules: LegacyKeyValueFormat")]
    [InlineData("", "# check=error=true\n", "lint violation found for rules: StageNameCasing, LegacyKeyValueFormat")]
    [InlineData("error=true;skip=LegacyKeyValueFormat", "# check=skip=all\n", "lint violation found for rules: StageNameCasing")]
    [InlineData("error=perhaps", "", "failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: failed to parse check option \"error=perhaps\": strconv.ParseBool: parsing \"perhaps\": invalid syntax")]
    [InlineData("", "# check=foo\n", "failed to parse check options: invalid check option \"foo\"")]
    public async Task Checks_can_fail_the_build(string argument, string directive, string error)
    {
        using var context = Context(directive + "FROM @BASE@ AS Base\nLABEL a b\n");
        string[] options = argument.Length > 0 ? ["--opt", "build-arg:BUILDKIT_DOCKERFILE_CHECK=" + argument] : [];
        var failed = (await fixture.Client.BuildPlainAsync(context, options)).Failed();
        Assert.EndsWith($"error: failed to solve: {error}\n", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndTheory]
    [InlineData("error=true;skip=all", "")]
    [InlineData("", "# check=skip=StageNameCasing,LegacyKeyValueFormat;error=true\n")]
    [InlineData("skip=all", "# check=error=true\n")]
    public async Task Skipped_checks_say_nothing(string argument, string directive)
    {
        using var context = Context(directive + "FROM @BASE@ AS Base\nLABEL a b\n");
        string[] options = argument.Length > 0 ? ["--opt", "build-arg:BUILDKIT_DOCKERFILE_CHECK=" + argument] : [];
        Assert.Empty((await fixture.Client.BuildAsync(context, options)).Succeeded().Trace.Warnings);
    }

    [EndToEndFact]
    public async Task An_experimental_check_runs_when_asked_for()
    {
        using var context = Context("# check=experimental=all\nFROM scratch\nCOPY kept ignored* /\n");
        context.Write("kept", "").Write("ignored", "").Write(".dockerignore", "ignored\n");
        var build = (await fixture.Client.BuildAsync(context)).Succeeded();
        Assert.DoesNotContain(build.Trace.Warnings, w => w.Contains("kept", StringComparison.Ordinal));
        using var direct = Context("# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY ignored /\n");
        direct.Write("ignored", "").Write(".dockerignore", "ignored\n");
        var failed = await fixture.Client.BuildAsync(direct);
        Assert.Equal(["CopyIgnoredFile: Attempting to Copy file \"ignored\" that is excluded by .dockerignore (line 3)"], failed.Trace.Warnings);
    }

    [EndToEndFact]
    public async Task The_question_lint_prints_the_warnings_with_the_lines()
    {
        using var context = Context("FROM scratch AS Base\nLABEL a b\nCOPY Dockerfile /\n");
        var answer = await AskAsync(context, "frontend.lint");
        Assert.Equal("""

            WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
            Stage name 'Base' should be lowercase
            Dockerfile:1
            --------------------
               1 | >>> FROM scratch AS Base
               2 |     LABEL a b
               3 |     COPY Dockerfile /
            --------------------

            WARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/
            "LABEL key=value" should be used instead of legacy "LABEL key value" format
            Dockerfile:2
            --------------------
               1 |     FROM scratch AS Base
               2 | >>> LABEL a b
               3 |     COPY Dockerfile /
               4 |     
            --------------------

            """, answer);
    }

    [EndToEndFact]
    public async Task The_question_outline_prints_what_a_target_can_be_given()
    {
        using var context = Context("""
            # base is where all begins
            FROM @BASE@ AS base
            # LEVEL of detail
            ARG LEVEL=3
            RUN --mount=type=secret,id=token,required=true --mount=type=ssh true
            FROM base AS last
            ARG UNUSED
            """);
        Assert.Equal("""
            TARGET:      base
            DESCRIPTION: is where all begins

            BUILD ARG   VALUE   DESCRIPTION
            LEVEL       3       of detail

            SECRET   REQUIRED
            token    true

            SSH       REQUIRED
            default


            """, Trimmed(await AskAsync(context, "frontend.outline", "--opt", "target=base")));
    }

    [EndToEndFact]
    public async Task The_question_targets_prints_the_stages()
    {
        using var context = Context("# one is the first\nFROM scratch AS one\nFROM scratch AS two\nFROM scratch\n");
        Assert.Equal("TARGET    DESCRIPTION\none       is the first\ntwo       \n(default) \n", await AskAsync(context, "frontend.targets"));
    }

    [EndToEndFact]
    public async Task The_question_describe_prints_the_questions()
    {
        using var context = Context("FROM scratch\n");
        Assert.Equal("""
            NAME                 VERSION DESCRIPTION
            outline              1.0.0   List all parameters current build target supports
            targets              1.0.0   List all targets current build supports
            subrequests.describe 1.0.0   List available subrequest types

            """, await AskAsync(context, "frontend.subrequests.describe"));
    }

    [EndToEndFact]
    public async Task An_unknown_question_is_told()
    {
        using var context = Context("FROM scratch\n");
        var failed = (await fixture.Client.BuildPlainAsync(context, "--opt", "requestid=frontend.nothing")).Failed();
        Assert.EndsWith("error: failed to solve: unsupported request frontend.nothing\n", failed.Errors, StringComparison.Ordinal);
    }

    private ContextDirectory Context(string dockerfile) => new(dockerfile.Replace("@BASE@", fixture.Base, StringComparison.Ordinal));

    private async Task<string> AskAsync(ContextDirectory context, string question, params string[] more) =>
        Encoding.UTF8.GetString((await fixture.Client.BuildPlainAsync(context, ["--opt", "requestid=" + question, .. more])).Succeeded().Output);

    /// <summary>A table without the blanks at the ends of its lines.</summary>
    private static string Trimmed(string text) => string.Join('\n', text.Split('\n').Select(line => line.TrimEnd()));
}
