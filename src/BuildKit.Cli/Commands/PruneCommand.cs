using BuildKit.Cli.Text;
using BuildKit.Client.Progress;
using BuildKit.CommandLine;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;

namespace BuildKit.Cli.Commands;

/// <summary><c>buildctl prune</c> (spec 08 §3.3).</summary>
internal static class PruneCommand
{
    private const double Megabyte = 1e6;

    /// <summary>The command.</summary>
    public static Command Create() => new("prune", "clean up build cache")
    {
        Flags = static () =>
        [
            new("keep-duration", FlagKind.Duration, "Keep data newer than this limit") { Default = "0s" },
            new("keep-storage", FlagKind.Float, "Keep data below this limit (in MB)") { Default = "0" },
            new("keep-storage-min", FlagKind.Float, "Always allow data above this limit (in MB)") { Default = "0" },
            new("free-storage", FlagKind.Float, "Keep free data below this limit (in MB)") { Default = "0" },
            new("filter", FlagKind.StringList, "Filter records") { Aliases = ["f"] },
            new("all", FlagKind.Bool, "Include internal/frontend references"),
            new("verbose", FlagKind.Bool, "Verbose output") { Aliases = ["v"] },
            DiskUsageCommand.Format,
        ],
        RunAsync = RunAsync,
    };

    private static async Task RunAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var request = new PruneRequest
        {
            Filter = { flags.List("filter") },
            All = flags.Bool("all"),
            KeepDuration = flags.Duration("keep-duration").Ticks * TimeSpan.NanosecondsPerTick,
            MaxUsedSpace = (long)(flags.Float("keep-storage") * Megabyte),
            ReservedSpace = (long)(flags.Float("keep-storage-min") * Megabyte),
            MinFreeSpace = (long)(flags.Float("free-storage") * Megabyte),
        };
        var template = flags.String("format") is { Length: > 0 } format ? OutputTemplate.Parse(format) : null;
        var total = 0L;
        var table = new Table(context);
        await Streams.ReadAsync(context, ControlMethods.Prune, request, Show, cancellationToken);
        if (template is not null)
            return;
        table.Add($"Total:\t{GoNumber.Bytes(total)}");
        table.Flush();

        void Show(UsageRecord record, int index)
        {
            total += record.Size;
            if (template is not null)
            {
                context.Print(template.Apply(UsageRecords.ToValue(record)));
                return;
            }
            if (flags.Bool("verbose"))
            {
                UsageRecords.AddBlock(table, record);
            }
            else
            {
                if (index == 0)
                    table.Add(UsageRecords.Header);
                table.Add(UsageRecords.Row(record));
            }
            table.Flush();
        }
    }
}

/// <summary>Calls whose answer is a stream.</summary>
internal static class Streams
{
    /// <summary>Makes a call and hands every message over with its number from 0; errors are shown as they came.</summary>
    public static async Task ReadAsync<TRequest, TResponse>(
        CommandContext context, Method<TRequest, TResponse> method, TRequest request, Action<TResponse, int> show, CancellationToken cancellationToken)
        where TRequest : class, Google.Protobuf.IMessage<TRequest>
        where TResponse : class, Google.Protobuf.IMessage<TResponse>
    {
        try
        {
            await using var channel = await context.ConnectAsync(null, cancellationToken);
            await ReadAsync(channel, method, request, show, cancellationToken);
        }
        catch (RpcException answer)
        {
            throw new CommandException(ErrorText.Raw(answer), answer);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw new CommandException("context canceled");
        }
    }

    /// <summary>The same on a connection that is open.</summary>
    public static async Task ReadAsync<TRequest, TResponse>(
        IGrpcChannel channel, Method<TRequest, TResponse> method, TRequest request, Action<TResponse, int> show, CancellationToken cancellationToken)
        where TRequest : class, Google.Protobuf.IMessage<TRequest>
        where TResponse : class, Google.Protobuf.IMessage<TResponse>
    {
        await using var call = channel.Open(method, default, cancellationToken);
        await call.SendAsync(request, cancellationToken);
        await call.CompleteAsync(cancellationToken);
        for (var index = 0; await call.ReadAsync(cancellationToken) is { } message; index++)
            show(message, index);
    }
}
