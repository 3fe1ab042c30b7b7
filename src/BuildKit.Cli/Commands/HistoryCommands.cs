using BuildKit.Cli.Text;
using BuildKit.CommandLine;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Cli.Commands;

/// <summary>Records of past builds: <c>prune-histories</c>, <c>debug histories</c>, <c>debug ctl</c> (spec 08 §3.4, §3.5).</summary>
internal static class HistoryCommands
{
    private const string Header = "TYPE\tREF\tCREATED\tCOMPLETED\tGENERATION";

    /// <summary><c>buildctl prune-histories</c>.</summary>
    public static Command Prune() => new("prune-histories", "clean up build histories") { Flags = static () => [DiskUsageCommand.Format], RunAsync = PruneAsync };

    /// <summary><c>buildctl debug histories</c>.</summary>
    public static Command List() => new("histories", "list build records") { Flags = static () => [DiskUsageCommand.Format], RunAsync = ListAsync };

    /// <summary><c>buildctl debug ctl</c>.</summary>
    public static Command Control() => new("ctl", "control build records")
    {
        Flags = static () =>
        [
            new("pin", FlagKind.Bool, "Pin build so it will not be garbage collected"),
            new("unpin", FlagKind.Bool, "Unpin build so it will be garbage collected"),
            new("delete", FlagKind.Bool, "Delete build record"),
        ],
        RunAsync = ControlAsync,
    };

    private static async Task ListAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var template = Template(flags);
        var table = new Table(context);
        if (template is null)
            table.Add(Header + "\tPINNED");
        await Streams.ReadAsync(context, ControlMethods.ListenBuildHistory, new BuildHistoryRequest { EarlyExit = true }, Show, cancellationToken);
        table.Flush();

        void Show(BuildHistoryEvent record, int index)
        {
            if (template is not null)
            {
                context.Print(template.Apply(HistoryValue.Of(record)));
                return;
            }
            table.Add($"{Row(record, context.Time)}\t{(record.Record is { Pinned: true } ? "*" : "")}");
            table.Flush();
        }
    }

    private static async Task PruneAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var template = Template(flags);
        var table = new Table(context);
        if (template is null)
            table.Add(Header);
        var events = new List<BuildHistoryEvent>();
        try
        {
            await using var channel = await context.ConnectAsync(null, cancellationToken);
            await Streams.ReadAsync(channel, ControlMethods.ListenBuildHistory, new BuildHistoryRequest { EarlyExit = true }, (record, _) => events.Add(record), cancellationToken);
            foreach (var record in events)
            {
                if (record.Record is null or { Pinned: true })
                    continue;
                await channel.UnaryAsync(ControlMethods.UpdateBuildHistory, new UpdateBuildHistoryRequest { Ref = record.Record.Ref, Delete = true }, default, cancellationToken);
                if (template is not null)
                {
                    context.Print(template.Apply(HistoryValue.Of(record)));
                    continue;
                }
                table.Add(Row(record, context.Time));
                table.Flush();
            }
        }
        catch (RpcException answer)
        {
            throw new CommandException(ErrorText.Raw(answer), answer);
        }
        table.Flush();
    }

    private static async Task ControlAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var reference = flags.Positional.Count > 0 ? flags.Positional[0] : throw new CommandException("build ref must be specified");
        var (pins, unpins, deletes) = (flags.Bool("pin"), flags.Bool("unpin"), flags.Bool("delete"));
        if (!pins && !unpins && !deletes)
            throw new CommandException("must specify one of --pin, --unpin, --delete");
        if (pins && unpins)
            throw new CommandException("cannot specify both --pin and --unpin");
        if (deletes && (pins || unpins))
            throw new CommandException("cannot specify --delete with --pin or --unpin");
        var request = new UpdateBuildHistoryRequest { Ref = reference, Pinned = pins, Delete = deletes };
        await context.CallAsync("", channel => channel.UnaryAsync(ControlMethods.UpdateBuildHistory, request, default, cancellationToken), cancellationToken);
    }

    private static OutputTemplate? Template(FlagValues flags) => flags.String("format") is { Length: > 0 } format ? OutputTemplate.Parse(format) : null;

    private static string Row(BuildHistoryEvent record, TimeProvider time)
    {
        var build = record.Record ?? new BuildHistoryRecord();
        return $"{HistoryValue.Name(record.Type)}\t{build.Ref}\t{GoTime.Local(build.CreatedAt, time)}\t{GoTime.Local(build.CompletedAt, time)}\t{build.Generation}";
    }
}

/// <summary>Build records for templates, with the member names of the reference's messages.</summary>
internal static class HistoryValue
{
    /// <summary>Name of an event's type.</summary>
    public static string Name(BuildHistoryEventType type) => type switch
    {
        BuildHistoryEventType.Started => "STARTED",
        BuildHistoryEventType.Complete => "COMPLETE",
        BuildHistoryEventType.Deleted => "DELETED",
        _ => ((int)type).ToString(System.Globalization.CultureInfo.InvariantCulture),
    };

    /// <summary>An event; members that hold nothing are left out of its JSON.</summary>
    public static TemplateValue Of(BuildHistoryEvent record)
    {
        var fields = new Fields();
        fields.Add("Type", "type", (int)record.Type);
        if (record.Record is { } build)
            fields.Add("Record", "record", Of(build));
        return fields.ToValue();
    }

    private static TemplateValue Of(BuildHistoryRecord build)
    {
        var fields = new Fields();
        fields.Add("Ref", "Ref", build.Ref);
        fields.Add("Frontend", "Frontend", build.Frontend);
        fields.Add("FrontendAttrs", "FrontendAttrs", build.FrontendAttrs);
        fields.Add("Exporters", "Exporters", build.Exporters.Count == 0 ? null : new TemplateValue.Sequence([.. build.Exporters.Select(Of)]));
        if (build.Error is { } error)
        {
            var status = new Fields();
            status.Add("Code", "code", error.Code);
            status.Add("Message", "message", error.Message);
            fields.Add("Error", "error", status.ToValue());
        }
        fields.Add("CreatedAt", "CreatedAt", Of(build.CreatedAt));
        fields.Add("CompletedAt", "CompletedAt", Of(build.CompletedAt));
        fields.Add("Logs", "logs", Of(build.Logs));
        fields.Add("ExporterResponse", "ExporterResponse", build.ExporterResponse);
        fields.Add("Result", "Result", Of(build.Result));
        fields.Add("Results", "Results", build.Results.Count == 0
            ? null
            : new TemplateValue.Members([.. build.Results.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => (pair.Key, pair.Key, Of(pair.Value)!))]));
        fields.Add("Generation", "Generation", build.Generation);
        fields.Add("Trace", "trace", Of(build.Trace));
        fields.Add("Pinned", "pinned", build.Pinned ? TemplateValue.Of(true) : null);
        fields.Add("NumCachedSteps", "numCachedSteps", build.NumCachedSteps);
        fields.Add("NumTotalSteps", "numTotalSteps", build.NumTotalSteps);
        fields.Add("NumCompletedSteps", "numCompletedSteps", build.NumCompletedSteps);
        fields.Add("ExternalError", "externalError", Of(build.ExternalError));
        fields.Add("NumWarnings", "numWarnings", build.NumWarnings);
        return fields.ToValue();
    }

    private static TemplateValue Of(Exporter exporter)
    {
        var fields = new Fields();
        fields.Add("Type", "Type", exporter.Type);
        fields.Add("Attrs", "Attrs", exporter.Attrs);
        return fields.ToValue();
    }

    private static TemplateValue? Of(Timestamp? time)
    {
        if (time is null)
            return null;
        var fields = new Fields();
        fields.Add("Seconds", "seconds", time.Seconds);
        fields.Add("Nanos", "nanos", time.Nanos);
        return fields.ToValue();
    }

    private static TemplateValue? Of(BlobDescriptor? descriptor)
    {
        if (descriptor is null)
            return null;
        var fields = new Fields();
        fields.Add("MediaType", "media_type", descriptor.MediaType);
        fields.Add("Digest", "digest", descriptor.Digest);
        fields.Add("Size", "size", descriptor.Size);
        fields.Add("Annotations", "annotations", descriptor.Annotations);
        return fields.ToValue();
    }

    private static TemplateValue? Of(BuildResultInfo? result)
    {
        if (result is null)
            return null;
        var fields = new Fields();
        fields.Add("ResultDeprecated", "ResultDeprecated", Of(result.ResultDeprecated));
        fields.Add("Attestations", "Attestations", result.Attestations.Count == 0 ? null : new TemplateValue.Sequence([.. result.Attestations.Select(static blob => Of(blob)!)]));
        fields.Add("Results", "Results", result.Results.Count == 0
            ? null
            : new TemplateValue.Members([.. result.Results
                .Select(static pair => (Key: pair.Key.ToString(System.Globalization.CultureInfo.InvariantCulture), Value: Of(pair.Value)!))
                .OrderBy(static pair => pair.Key, StringComparer.Ordinal)
                .Select(static pair => (pair.Key, pair.Key, pair.Value))]));
        return fields.ToValue();
    }

    private sealed class Fields
    {
        private readonly List<(string, string, TemplateValue)> _fields = [];

        public void Add(string field, string json, TemplateValue? value) => _fields.Add((field, value is null ? "" : json, value ?? TemplateValue.Nothing));

        public void Add(string field, string json, string text) => _fields.Add((field, text.Length == 0 ? "" : json, TemplateValue.Of(text)));

        public void Add(string field, string json, long number) => _fields.Add((field, number == 0 ? "" : json, TemplateValue.Of(number)));

        public void Add(string field, string json, IReadOnlyCollection<KeyValuePair<string, string>> map) =>
            _fields.Add((field, map.Count == 0 ? "" : json, TemplateValue.Members.Map(map)));

        public TemplateValue ToValue() => new TemplateValue.Members(_fields);
    }
}
