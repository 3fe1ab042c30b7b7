using BuildKit.Cli.Text;
using BuildKit.Client.Progress;
using BuildKit.CommandLine;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Services;

namespace BuildKit.Cli.Commands;

/// <summary><c>buildctl du</c> (spec 08 §3.2).</summary>
internal static class DiskUsageCommand
{
    /// <summary>The flag all lists have.</summary>
    public static Flag Format => new("format", FlagKind.String, "Format the output using the given Go template, e.g, '{{json .}}'");

    /// <summary>The command.</summary>
    public static Command Create() => new("du", "disk usage")
    {
        Flags = static () =>
        [
            new("filter", FlagKind.StringList, "Filter records") { Aliases = ["f"] },
            new("verbose", FlagKind.Bool, "Verbose output") { Aliases = ["v"] },
            Format,
        ],
        RunAsync = RunAsync,
    };

    private static async Task RunAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var request = new DiskUsageRequest { Filter = { flags.List("filter") } };
        var response = await context.CallAsync(
            "failed to call diskusage: ", channel => channel.UnaryAsync(ControlMethods.DiskUsage, request, default, cancellationToken), cancellationToken);
        var records = response.Record
            .OrderByDescending(static record => record.Size)
            .ThenByDescending(static record => record.ID, StringComparer.Ordinal)
            .ToArray();
        if (flags.String("format") is { Length: > 0 } format)
        {
            var template = OutputTemplate.Parse(format);
            context.Print(template.Apply(new TemplateValue.Sequence([.. records.Select(UsageRecords.ToValue)])));
            return;
        }
        var table = new Table(context);
        if (flags.Bool("verbose"))
        {
            foreach (var record in records)
                UsageRecords.AddBlock(table, record);
        }
        else
        {
            table.Add(UsageRecords.Header);
            foreach (var record in records)
                table.Add(UsageRecords.Row(record));
        }
        if (!flags.Bool("verbose"))
            table.Flush();
        if (request.Filter.Count == 0)
            AddSummary(table, records);
        table.Flush();
    }

    private static void AddSummary(Table table, UsageRecord[] records)
    {
        var (total, reclaimable, shared) = (0L, 0L, 0L);
        foreach (var record in records)
        {
            if (record.Size <= 0)
                continue;
            total += record.Size;
            reclaimable += record.InUse ? 0 : record.Size;
            shared += record.Shared ? record.Size : 0;
        }
        if (shared > 0)
        {
            table.Add($"Shared:\t{GoNumber.Bytes(shared)}");
            table.Add($"Private:\t{GoNumber.Bytes(total - shared)}");
        }
        table.Add($"Reclaimable:\t{GoNumber.Bytes(reclaimable)}");
        table.Add($"Total:\t{GoNumber.Bytes(total)}");
    }
}
