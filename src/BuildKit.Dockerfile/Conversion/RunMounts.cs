using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>The mounts of RUN (spec 05 §6.5).</summary>
internal sealed class RunMounts(ConversionScope scope)
{
    private const uint SecretMode = 0x100; // 0400
    private const uint AgentMode = 0x180; // 0600
    private const uint CacheMode = 0x1ED; // 0755

    /// <summary>Adds the mounts of an instruction to its plan.</summary>
    public void Add(Stage stage, RunInstruction run, IReadOnlyList<Stage> sources, RunPlan plan)
    {
        foreach (var (index, mount) in run.Mounts.Index())
        {
            var source = mount.From.Length > 0 || mount.Type is "cache" ? sources[index] : null;
            if (source is { IsEmitted: false })
            {
                var from = mount.From.Length > 0 ? mount.From : "scratch";
                throw new DockerfileException($"cannot mount from stage {GoQuote.Quote(from)} to {GoQuote.Quote(mount.Target)}, stage needs to be defined before current command");
            }
            if (mount.Type is "secret")
                plan.Secrets.Add(Secret(stage, mount, run));
            else if (mount.Type is "ssh")
                plan.Agents.Add(Agent(stage, mount, run));
            else
                plan.Mounts.Add(FileSystem(stage, mount, source));
        }
    }

    private RunMount FileSystem(Stage stage, MountOption mount, Stage? source)
    {
        var state = mount.Type is "tmpfs" ? State.Scratch : source?.State ?? scope.BuildContext;
        var target = mount.Target;
        if (!SlashPath.IsAbsolute(SlashPath.Clean(target)))
            target = SlashPath.Join("/", stage.Values.Directory, target);
        if (target is "/")
            throw new DockerfileException($"invalid mount target {GoQuote.Quote(target)}");
        var selector = SlashPath.Join("/", mount.Source);
        if (selector is "/")
        {
            selector = "";
            if (mount.HasFileInfo)
            {
                state = WithPermissions(state, mount);
                selector = "/cache";
            }
        }
        (source?.Paths ?? stage.ContextPaths).Add(SlashPath.Join("/", mount.Source));
        var result = new RunMount(target, state)
        {
            Selector = selector,
            ReadOnly = mount.ReadOnly,
            NoOutput = !mount.ReadOnly && mount.Type is "bind" && scope.LlbCaps.Supports(LlbCaps.ExecMountBindReadWriteNoOutput),
        };
        return mount.Type switch
        {
            "tmpfs" => result with { IsTmpfs = true, TmpfsSize = mount.Size },
            "cache" => result with
            {
                CacheId = scope.Options.CacheNamespace + "/" + (mount.Id.Length > 0 ? mount.Id : SlashPath.Clean(mount.Target)),
                CacheSharing = mount.Sharing switch { "private" => CacheSharingOpt.Private, "locked" => CacheSharingOpt.Locked, _ => CacheSharingOpt.Shared },
            },
            _ => result,
        };
    }

    private static State WithPermissions(State state, MountOption mount) => state.File(
        Files.Mkdir("/cache", (int)(mount.Mode ?? CacheMode), new MkdirOptions { Owner = FileOwner.Ids((int)(mount.Uid ?? 0), (int)(mount.Gid ?? 0)) }),
        OpConstraints.None.WithCustomName("[internal] setting cache mount permissions"));

    private static RunSecret Secret(Stage stage, MountOption mount, RunInstruction run)
    {
        var id = mount.Source.Length > 0 ? mount.Source : mount.Id;
        if (id.Length == 0)
            id = mount.Target.Length > 0 ? SlashPath.Base(mount.Target) : throw new DockerfileException("one of source, target required");
        stage.Outline.Secrets.TryAdd(id, new OutlineMount(mount.Required, run.Location));
        var target = mount.Target.Length > 0 ? mount.Target : null;
        if (mount.Env is null)
            target ??= "/run/secrets/" + SlashPath.Base(id);
        return new RunSecret(id)
        {
            Target = target,
            Environment = mount.Env,
            Optional = !mount.Required,
            Uid = mount.Uid ?? 0,
            Gid = mount.Gid ?? 0,
            Mode = mount.Mode ?? SecretMode,
        };
    }

    private static RunSsh Agent(Stage stage, MountOption mount, RunInstruction run)
    {
        if (mount.Source.Length > 0)
            throw new DockerfileException("ssh does not support source");
        stage.Outline.Agents.TryAdd(mount.Id.Length > 0 ? mount.Id : "default", new OutlineMount(mount.Required, run.Location));
        return new RunSsh(mount.Id)
        {
            Target = mount.Target.Length > 0 ? mount.Target : null,
            Optional = !mount.Required,
            Uid = mount.Uid ?? 0,
            Gid = mount.Gid ?? 0,
            Mode = mount.Mode ?? AgentMode,
        };
    }
}
