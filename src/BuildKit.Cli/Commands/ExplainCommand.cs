using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.CommandLine;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;

namespace BuildKit.Cli.Commands;

/// <summary><c>buildctl debug explain</c>, and the end of <c>buildctl build --explain-cache</c> (docs/explain-cache.md).</summary>
internal static class ExplainCommand
{
    private const string Unable = "this daemon cannot explain why steps were executed; buildkitd of this project can";

    /// <summary>The command.</summary>
    public static Command Create() => new("explain", "say why the steps of a build were executed")
    {
        ArgumentsText = "[REF]",
        Flags = static () => [new("format", FlagKind.String, "text or json") { Default = "text" }],
        RunAsync = RunAsync,
    };

    /// <summary>Explains a build that has just ended, below its progress. That it cannot be explained is told, and fails nothing.</summary>
    public static async Task AfterBuildAsync(CommandContext context, IGrpcChannel channel, string reference, IProgressDisplay display, CancellationToken cancellationToken)
    {
        BuildExplanation explanation;
        try
        {
            explanation = await channel.UnaryAsync(ExplainMethods.Explain, new ExplainRequest { Ref = reference }, default, cancellationToken);
        }
        catch (RpcException answer)
        {
            context.Log.Warn(answer.Code == StatusCode.Unimplemented ? Unable : "the build could not be explained: " + ErrorText.Of(answer));
            return;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            return; // Interrupted, like the build.
        }
        if (display is RawJsonDisplay)
            context.ErrorOutput.Write(ExplanationJson.Line(explanation, context.Time));
        else
            context.PrintError("\n" + new ExplanationText(context.Time, display.NumberOf).Of(explanation));
    }

    private static async Task RunAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var format = flags.String("format");
        if (format is not ("text" or "json"))
            throw new CommandException($"invalid format {format}: text or json");
        var request = new ExplainRequest { Ref = flags.Positional.Count > 0 ? flags.Positional[0] : "" };
        BuildExplanation explanation;
        try
        {
            await using var channel = await context.ConnectAsync(null, cancellationToken);
            explanation = await channel.UnaryAsync(ExplainMethods.Explain, request, default, cancellationToken);
        }
        catch (RpcException answer)
        {
            throw new CommandException(answer.Code == StatusCode.Unimplemented ? Unable : answer.Message, answer);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw new CommandException("context canceled");
        }
        if (format == "json")
            context.Output.Write(ExplanationJson.Line(explanation, context.Time));
        else
            context.Print(new ExplanationText(context.Time, static _ => null).Of(explanation));
    }
}
