using System.Text;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>RUN (spec 05 §6.5).</summary>
internal sealed class RunEmitter(ConversionScope scope)
{
    private const string ScriptDirectory = "/dev/pipes/";
    private const int ScriptMode = 0x1ED; // 0755

    private readonly RunMounts _mounts = new(scope);

    public void Emit(Stage stage, RunInstruction run, IReadOnlyList<Stage> sources)
    {
        stage.Paths.Add("/"); // a command may look at any file
        var plan = new RunPlan { Source = run.Source };
        var arguments = Arguments(stage, run.Command, plan);
        if (run.Command.IsShellForm)
            arguments = ConfigEmitter.WithShell(stage.Image, arguments);
        _mounts.Add(stage, run, sources, plan);
        if (run.Devices.Count > 0 && !scope.Features.Devices && scope.LlbCaps.Supports(LlbCaps.ExecMetaCdi))
            throw new DockerfileException("device feature is only supported in Dockerfile frontend 1.14.0-labs or later");
        if (scope.Options.ShmSize > 0 && scope.LlbCaps.Supports(LlbCaps.ExecMountTmpfsSize))
            plan.Mounts.Add(RunMount.Tmpfs("/dev/shm", scope.Options.ShmSize));

        var values = stage.Values;
        var environment = stage.Environment;
        var shown = DisplayNames.Expand(plan.Source, Masked(run, environment), scope.Shell with { RawQuotes = true, SkipUnset = true });
        var constraints = scope.At(run.Location)
            .WithDescription(DisplayNames.CommandKey, run.Source)
            .WithCustomName(DisplayNames.Prefix(stage, shown, scope.Options.MultiPlatform, values.Platform, environment));
        stage.State = stage.State.Run(new RunOptions
        {
            Args = arguments,
            Mounts = plan.Mounts,
            Secrets = plan.Secrets,
            Ssh = plan.Agents,
            Proxy = Proxy(),
            Devices = scope.LlbCaps.Supports(LlbCaps.ExecMetaCdi) ? [.. run.Devices.Select(static d => new RunDevice(d.Name, !d.Required))] : [],
            Configure = state => Configure(state, run),
            Constraints = constraints with { IgnoreCache = stage.IgnoreCache },
        }).Root;
        stage.Image.AddHistory($"RUN {History(stage, arguments, environment)} # buildkit", hasLayer: true, scope.HistoryTime);
    }

    /// <summary>The command, with inline documents put where they belong.</summary>
    private static IReadOnlyList<string> Arguments(Stage stage, CommandLine command, RunPlan plan)
    {
        if (command.Heredocs.Count == 0)
            return command.Arguments;
        if (command.Arguments is not [var text] || !command.IsShellForm)
            throw new DockerfileException($"parsing produced an invalid run command: [{string.Join(' ', command.Arguments)}]");
        var document = command.Heredocs[0];
        if (HeredocReader.TryParse(text) is null)
            return [text + string.Concat(command.Heredocs.Select(static h => "\n" + h.Content + h.Name))];
        plan.Source += $" ({DisplayNames.Summary(document.Content)})";
        var content = document.Chomp ? HeredocReader.Chomp(document.Content) : document.Content;
        // The first characters decide before tabs are removed.
        if (stage.Image.Platform.Os is "windows" || !document.Content.StartsWith("#!", StringComparison.Ordinal))
            return [content];
        var script = State.Scratch.File(
            Files.Mkfile(document.Name, ScriptMode, Encoding.UTF8.GetBytes(content)),
            OpConstraints.None.WithCustomName("[internal] preparing inline document") with { Platform = stage.Platform });
        plan.Mounts.Add(new RunMount(ScriptDirectory, script) { Selector = "/", ReadOnly = true });
        return [SlashPath.Join(ScriptDirectory, document.Name)];
    }

    private State Configure(State state, RunInstruction run)
    {
        if (run.Security is "insecure")
            state = state.Security(SecurityMode.Insecure);
        if (run.Network is not "default")
            state = state.Network(run.Network is "none" ? NetMode.None : NetMode.Host);
        if (scope.LlbCaps.Supports(LlbCaps.ExecMetaUlimit))
        {
            foreach (var limit in scope.Options.Ulimits)
                state = state.AddUlimit(limit.Name, limit.Soft, limit.Hard);
        }
        foreach (var (host, address) in scope.Options.ExtraHosts)
            state = state.AddExtraHost(host, address);
        if (scope.Options.CgroupParent.Length > 0 && scope.LlbCaps.Supports(LlbCaps.ExecMetaCgroupParent))
            state = state.CgroupParent(scope.Options.CgroupParent);
        return state;
    }

    /// <summary>Proxies named by build arguments in any case; null when there are none.</summary>
    private ProxySettings? Proxy()
    {
        ProxySettings? proxy = null;
        foreach (var (name, value) in scope.Options.BuildArgs)
        {
            proxy = name.ToLowerInvariant() switch
            {
                "http_proxy" => (proxy ?? new()) with { Http = value },
                "https_proxy" => (proxy ?? new()) with { Https = value },
                "ftp_proxy" => (proxy ?? new()) with { Ftp = value },
                "no_proxy" => (proxy ?? new()) with { No = value },
                "all_proxy" => (proxy ?? new()) with { All = value },
                _ => proxy,
            };
        }
        return proxy;
    }

    private static IShellEnvironment Masked(RunInstruction run, IShellEnvironment environment)
    {
        var mask = EnvironmentList.Empty;
        foreach (var mount in run.Mounts.Where(static m => m.Type is "secret" && m.Env is not null))
            mask = mask.Set(mount.Env!, "****");
        return mask.Any() ? new OverlayEnvironment(mask, environment) : environment;
    }

    /// <summary>The command with the declared arguments and their values in front.</summary>
    private static string History(Stage stage, IReadOnlyList<string> arguments, IShellEnvironment environment)
    {
        var positions = new Dictionary<string, int>(StringComparer.Ordinal);
        var shown = new List<string>();
        foreach (var argument in stage.Arguments)
        {
            var pair = $"{argument.Key}={(environment.TryGet(argument.Key, out var value) ? value : argument.Value ?? "")}";
            if (positions.TryGetValue(argument.Key, out var position))
            {
                shown[position] = pair;
                continue;
            }
            positions.Add(argument.Key, shown.Count);
            shown.Add(pair);
        }
        if (shown.Count > 0)
            shown.Insert(0, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"|{shown.Count}"));
        return string.Join(' ', shown.Concat(arguments));
    }
}

/// <summary>A RUN being put together.</summary>
internal sealed class RunPlan
{
    /// <summary>Text shown.</summary>
    public required string Source { get; set; }

    public List<RunMount> Mounts { get; } = [];

    public List<RunSecret> Secrets { get; } = [];

    public List<RunSsh> Agents { get; } = [];
}
