using System.Text;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Conversion;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Outline;

/// <summary>Answers questions about a Dockerfile; the answer has metadata only (spec 05 §10).</summary>
internal sealed class Subrequests(BuildInputs inputs, DockerfileSource dockerfile, DockerfileFeatures features)
{
    /// <summary>Answers a request.</summary>
    /// <exception cref="UnsupportedSubrequestException">It is unknown.</exception>
    public async Task<FrontendResult> AnswerAsync(string request, Action<LintWarning> warn, CancellationToken cancellationToken)
    {
        switch (request)
        {
            case "frontend.subrequests.describe":
                return Result(DescribeReport.ToJson(), DescribeReport.ToText());
            case "frontend.outline":
                var conversion = await Converter().ConvertAsync(TargetPlatform, warn, allStages: false, cancellationToken).ConfigureAwait(false);
                var outline = new OutlineReport(conversion.Target, dockerfile.Content);
                return Result(outline.ToJson(), outline.ToText());
            case "frontend.targets":
                var program = new InstructionParser(features, Linter.Silent).ParseProgram(DockerfileParser.Parse(dockerfile.Content));
                var targets = new TargetsReport(program.Stages, dockerfile.Content);
                return Result(targets.ToJson(), targets.ToText());
            case "frontend.lint":
                return await LintAsync(cancellationToken).ConfigureAwait(false);
            default:
                throw new UnsupportedSubrequestException(request);
        }
    }

    // The reference converts for no particular platform when it answers questions.
    private static Platform? TargetPlatform => null;

    private DockerfileConverter Converter() => new(inputs, dockerfile, features);

    private async Task<FrontendResult> LintAsync(CancellationToken cancellationToken)
    {
        var warnings = new List<LintWarning>();
        Exception? error = null;
        try
        {
            await Converter().ConvertAsync(TargetPlatform, warnings.Add, inputs.Options.Target.Length == 0, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            error = e; // part of the answer
        }
        var report = new LintReport(warnings, dockerfile, error);
        var result = Result(report.ToJson(), report.ToText());
        result.Metadata["result.statuscode"] = Encoding.UTF8.GetBytes(report.Status == 0 ? "0" : "1");
        return result;
    }

    private static FrontendResult Result(byte[] json, byte[] text)
    {
        var result = new FrontendResult();
        result.Metadata["result.json"] = json;
        result.Metadata["result.txt"] = text;
        result.Metadata["version"] = "1.0.0"u8.ToArray();
        return result;
    }
}
