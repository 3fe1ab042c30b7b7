using BuildKit.Cli.Text;
using BuildKit.Client.Progress;
using BuildKit.CommandLine;
using BuildKit.Llb;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using BuildKit.Protocol.Types;
using CDIDevice = BuildKit.Protocol.Types.CDIDevice;

namespace BuildKit.Cli.Commands;

/// <summary><c>buildctl debug workers</c> and <c>debug info</c> (spec 08 §3.5).</summary>
internal static class WorkersCommand
{
    /// <summary><c>debug workers</c>.</summary>
    public static Command Create() => new("workers", "list workers")
    {
        Flags = static () =>
        [
            new("filter", FlagKind.StringList, "containerd-style filter string slice") { Aliases = ["f"] },
            new("verbose", FlagKind.Bool, "Verbose output") { Aliases = ["v"] },
            DiskUsageCommand.Format,
        ],
        RunAsync = RunAsync,
    };

    /// <summary><c>debug info</c>.</summary>
    public static Command Info() => new("info", "display internal information") { Flags = static () => [DiskUsageCommand.Format], RunAsync = InfoAsync };

    private static async Task InfoAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var response = await context.CallAsync(
            "failed to call info: ", channel => channel.UnaryAsync(ControlMethods.Info, new InfoRequest(), default, cancellationToken), cancellationToken);
        var version = response.BuildkitVersion ?? new BuildkitVersion();
        if (flags.String("format") is { Length: > 0 } format)
        {
            context.Print(OutputTemplate.Parse(format).Apply(new TemplateValue.Members([("BuildkitVersion", "buildkitVersion", Value(version))])));
            return;
        }
        var table = new Table(context, padsWithSpaces: true);
        table.Add($"BuildKit:\t{Text(version)}");
        table.Flush();
    }

    private static async Task RunAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var request = new ListWorkersRequest { Filter = { flags.List("filter") } };
        var response = await context.CallAsync(
            "failed to list workers: ", channel => channel.UnaryAsync(ControlMethods.ListWorkers, request, default, cancellationToken), cancellationToken);
        if (flags.String("format") is { Length: > 0 } format)
        {
            context.Print(OutputTemplate.Parse(format).Apply(new TemplateValue.Sequence([.. response.Record.Select(Value)])));
            return;
        }
        var table = new Table(context);
        if (flags.Bool("verbose"))
        {
            foreach (var worker in response.Record)
                AddBlock(table, worker);
        }
        else
        {
            table.Add("ID\tPLATFORMS");
            foreach (var worker in response.Record)
                table.Add($"{worker.ID}\t{Platforms(worker)}");
        }
        table.Flush();
    }

    private static void AddBlock(Table table, WorkerRecord worker)
    {
        table.Add($"ID:\t{worker.ID}");
        table.Add($"Platforms:\t{Platforms(worker)}");
        table.Add($"BuildKit:\t{Text(worker.BuildkitVersion ?? new BuildkitVersion())}");
        table.Add("Labels:");
        foreach (var (key, value) in worker.Labels.OrderBy(static label => label.Key, StringComparer.Ordinal))
            table.Add($"\t{key}:\t{value}");
        if (worker.CDIDevices.Count > 0)
        {
            table.Add("Devices:");
            foreach (var device in worker.CDIDevices)
                AddDevice(table, device);
            table.Add("");
        }
        for (var i = 0; i < worker.GCPolicy.Count; i++)
        {
            var policy = worker.GCPolicy[i];
            table.Add($"GC Policy rule#{i}:");
            table.Add($"\tAll:\t{(policy.All ? "true" : "false")}");
            if (policy.Filters.Count > 0)
                table.Add($"\tFilters:\t{string.Join(' ', policy.Filters)}");
            if (policy.KeepDuration > 0)
                table.Add($"\tKeep duration:\t{GoTime.Duration(policy.KeepDuration)}");
            if (policy.ReservedSpace > 0)
                table.Add($"\tReserved space:\t{GoNumber.ShortestBytes(policy.ReservedSpace)}");
            if (policy.MinFreeSpace > 0)
                table.Add($"\tMinimum free space:\t{GoNumber.ShortestBytes(policy.MinFreeSpace)}");
            if (policy.MaxUsedSpace > 0)
                table.Add($"\tMaximum used space:\t{GoNumber.ShortestBytes(policy.MaxUsedSpace)}");
        }
        table.Add("");
    }

    private static void AddDevice(Table table, Protocol.Types.CDIDevice device)
    {
        table.Add($"\tName:\t{device.Name}");
        if (device.OnDemand)
            table.Add("\tOnDemand:\ttrue");
        else
            table.Add($"\tAutoAllow:\t{(device.AutoAllow ? "true" : "false")}");
        foreach (var (key, value) in device.Annotations.OrderBy(static pair => pair.Key, StringComparer.Ordinal))
            table.Add($"\tAnnotations:\t{key}:\t{value}");
    }

    private static string Text(BuildkitVersion version) => $"{version.Package} {version.Version} {version.Revision}";

    private static string Platforms(WorkerRecord worker) => string.Join(',', worker.Platforms.Select(static platform => platform.ToOci().Normalize().Format()));

    private static TemplateValue Value(BuildkitVersion version) => new TemplateValue.Members(
    [
        ("Package", "package", TemplateValue.Of(version.Package)),
        ("Version", "version", TemplateValue.Of(version.Version)),
        ("Revision", "revision", TemplateValue.Of(version.Revision)),
    ]);

    private static TemplateValue Value(WorkerRecord worker) => new TemplateValue.Members(
    [
        ("ID", "id", TemplateValue.Of(worker.ID)),
        ("Labels", "labels", TemplateValue.Members.Map(worker.Labels)),
        ("Platforms", "platforms", new TemplateValue.Sequence([.. worker.Platforms.Select(Value)])),
        ("GCPolicy", "gcPolicy", new TemplateValue.Sequence([.. worker.GCPolicy.Select(Value)])),
        ("BuildkitVersion", "buildkitVersion", Value(worker.BuildkitVersion ?? new BuildkitVersion())),
        ("CDIDevices", "cdiDevices", new TemplateValue.Sequence([.. worker.CDIDevices.Select(Value)]) { IsNullWhenEmpty = true }),
    ]);

    private static TemplateValue Value(Platform platform) => new TemplateValue.Members(
    [
        ("Architecture", "architecture", TemplateValue.Of(platform.Architecture)),
        ("OS", "os", TemplateValue.Of(platform.OS)),
        ("OSVersion", platform.OSVersion.Length > 0 ? "os.version" : "", TemplateValue.Of(platform.OSVersion)),
        ("Variant", platform.Variant.Length > 0 ? "variant" : "", TemplateValue.Of(platform.Variant)),
    ]);

    private static TemplateValue Value(GCPolicy policy) => new TemplateValue.Members(
    [
        ("All", "all", TemplateValue.Of(policy.All)),
        ("Filter", "filter", TemplateValue.Of(policy.Filters)),
        ("KeepDuration", "keepDuration", TemplateValue.Of(policy.KeepDuration)),
        ("ReservedSpace", "reservedSpace", TemplateValue.Of(policy.ReservedSpace)),
        ("MaxUsedSpace", "maxUsedSpace", TemplateValue.Of(policy.MaxUsedSpace)),
        ("MinFreeSpace", "minFreeSpace", TemplateValue.Of(policy.MinFreeSpace)),
    ]);

    private static TemplateValue Value(Protocol.Types.CDIDevice device) => new TemplateValue.Members(
    [
        ("Name", "name", TemplateValue.Of(device.Name)),
        ("AutoAllow", "autoAllow", TemplateValue.Of(device.AutoAllow)),
        ("Annotations", "annotations", TemplateValue.Members.Map(device.Annotations)),
        ("OnDemand", "onDemand", TemplateValue.Of(device.OnDemand)),
    ]);
}
