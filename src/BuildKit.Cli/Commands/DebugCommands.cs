using System.Threading.Channels;
using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.CommandLine;
using BuildKit.Llb;
using BuildKit.Protocol.Content;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using Google.Protobuf;
using ControlStatus = BuildKit.Protocol.Control.StatusRequest;
using ControlStatusResponse = BuildKit.Protocol.Control.StatusResponse;

namespace BuildKit.Cli.Commands;

/// <summary><c>buildctl debug …</c> (spec 08 §3.5).</summary>
internal static class DebugCommands
{
    private const int OutputDescriptor = 1;

    /// <summary>The group.</summary>
    public static Command Create() => new("debug", "debug utilities")
    {
        Commands = [DumpLlb(), DumpMetadataCommand.Create(), WorkersCommand.Create(), WorkersCommand.Info(), Monitor(), Logs(), HistoryCommands.Control(), Get(), HistoryCommands.List(), ExplainCommand.Create()],
    };

    private static Command DumpLlb() => new("dump-llb", "dump LLB in human-readable format. LLB can be also passed via stdin. This command does not require the daemon to be running.")
    {
        ArgumentsText = "<llbfile>",
        Flags = static () => [new("dot", FlagKind.Bool, "Output dot format")],
        RunAsync = static (context, flags, _) => DumpLlbAsync(context, flags),
    };

    private static Command Monitor() => new("monitor", "display build events")
    {
        Flags = static () => [new("completed", FlagKind.Bool, "show completed builds"), new("ref", FlagKind.String, "show events for a specific build")],
        RunAsync = static (context, flags, token) => Streams.ReadAsync(
            context,
            ControlMethods.ListenBuildHistory,
            new BuildHistoryRequest { ActiveOnly = !flags.Bool("completed"), Ref = flags.String("ref") },
            (record, _) => context.Print(MonitorText.Of(record)),
            token),
    };

    private static Command Logs() => new("logs", "display build logs")
    {
        Flags = static () => [new("progress", FlagKind.String, "progress output type") { Default = "auto" }, new("trace", FlagKind.Bool, "show opentelemetry trace")],
        RunAsync = LogsAsync,
    };

    private static Command Get() => new("get", "retrieve a blob from contentstore")
    {
        RunAsync = static (context, flags, token) =>
        {
            var digest = flags.Positional.Count > 0 ? flags.Positional[0] : throw new CommandException("blob digest must be specified");
            return ReadBlobAsync(context, digest, token);
        },
    };

    private static Task DumpLlbAsync(CommandContext context, FlagValues flags)
    {
        var path = flags.Positional.Count > 0 ? flags.Positional[0] : "-";
        Definition definition;
        try
        {
            using var input = path == "-" ? context.OpenInput() : File.OpenRead(path);
            definition = Definition.Parser.ParseFrom(input);
        }
        catch (Exception failure) when (failure is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandException($"open {path}: no such file or directory", failure);
        }
        catch (InvalidProtocolBufferException failure)
        {
            throw new CommandException(failure.Message, failure);
        }
        try
        {
            if (flags.Bool("dot"))
                context.Print(LlbDump.ToDot(definition));
            else
                context.Output.Write(LlbDump.ToJsonLines(definition));
        }
        catch (LlbException failure)
        {
            throw new CommandException(failure.Message, failure);
        }
        return Task.CompletedTask;
    }

    private static async Task LogsAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var reference = flags.Positional.Count > 0 ? flags.Positional[0] : "";
        if (reference.Length == 0)
            throw new CommandException("build ref must be specified");
        if (flags.Bool("trace"))
        {
            await ReadBlobAsync(context, await FindTraceAsync(context, reference, cancellationToken), cancellationToken);
            return;
        }
        var mode = Displays.Resolve(flags.String("progress"), context.IsTerminal(OutputDescriptor), context.Variable);
        var look = DisplayOptions.FromEnvironment(context.Variable, context.Colors);
        var display = Displays.Create(mode, context.Output, OutputDescriptor, look, context.Time);
        var messages = Channel.CreateUnbounded<ControlStatusResponse>();
        var drawing = DisplayLoop.RunAsync(messages.Reader, display, look.Tick, context.Time);
        try
        {
            await Streams.ReadAsync(
                context, ControlMethods.Status, new ControlStatus { Ref = reference }, (message, _) => messages.Writer.TryWrite(message), cancellationToken);
        }
        finally
        {
            messages.Writer.TryComplete();
            await drawing;
        }
    }

    private static async Task<string> FindTraceAsync(CommandContext context, string reference, CancellationToken cancellationToken)
    {
        BuildHistoryRecord? found = null;
        var request = new BuildHistoryRequest { Ref = reference, EarlyExit = true };
        await Streams.ReadAsync(
            context, ControlMethods.ListenBuildHistory, request, (record, _) => found = record.Record?.Ref == reference ? record.Record : found, cancellationToken);
        if (found is null)
            throw new CommandException($"ref {reference} not found");
        return found.Trace?.Digest ?? throw new CommandException($"ref {reference} does not have trace");
    }

    private static async Task ReadBlobAsync(CommandContext context, string digest, CancellationToken cancellationToken)
    {
        try
        {
            await using var channel = await context.ConnectAsync(null, cancellationToken);
            await Streams.ReadAsync(
                channel, ContentMethods.Read, new ReadContentRequest { Digest = digest }, (piece, _) => context.Output.Write(piece.Data.Span), cancellationToken);
        }
        catch (RpcException answer)
        {
            throw new CommandException(ErrorText.Of(answer), answer);
        }
    }
}

/// <summary>Events of builds as <c>debug monitor</c> prints them.</summary>
internal static class MonitorText
{
    /// <summary>An event with what is known of its build.</summary>
    public static string Of(BuildHistoryEvent record)
    {
        var build = record.Record ?? new BuildHistoryRecord();
        var text = new System.Text.StringBuilder($"event: {HistoryValue.Name(record.Type)} ref:{build.Ref}\n");
        if (build.NumTotalSteps > 0)
            text.Append($"  cache: {build.NumCachedSteps}/{build.NumTotalSteps}\n");
        if (build.NumWarnings > 0)
            text.Append($"  warnings: {build.NumWarnings}\n");
        Add(text, "  logs", build.Logs);
        Add(text, "  trace", build.Trace);
        AddResult(text, "  ", build.Result);
        foreach (var (platform, result) in build.Results.OrderBy(static pair => pair.Key, StringComparer.Ordinal))
            AddResult(text, $"  [{platform}] ", result);
        return text.ToString();
    }

    private static void AddResult(System.Text.StringBuilder text, string prefix, BuildResultInfo? result)
    {
        if (result is null)
            return;
        foreach (var (_, descriptor) in result.Results)
            Add(text, prefix + "descriptor", descriptor);
        foreach (var descriptor in result.Attestations)
            Add(text, prefix + "attestation", descriptor);
    }

    private static void Add(System.Text.StringBuilder text, string name, BlobDescriptor? blob)
    {
        if (blob is not null)
            text.Append($"{name}: media_type:\"{blob.MediaType}\"  digest:\"{blob.Digest}\"  size:{blob.Size}\n");
    }
}
