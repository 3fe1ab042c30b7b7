using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>An operation that runs a process (spec 02 §11.5).</summary>
internal sealed class ExecVertex : Vertex
{
    private const string DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    private const string DefaultWindowsPath = @"c:\Windows\System32;c:\Windows";

    private readonly RunOptions _options;
    private readonly OpConstraints _constraints;
    private readonly ValueNode _node;
    private readonly List<AttachedMount> _mounts = [];

    public ExecVertex(State state, RunOptions options)
    {
        _options = options;
        _constraints = options.Constraints;
        _node = (options.Configure is { } configure ? configure(state) : state).Node;
        if (options.Args is { } args)
            _node = _node.Change(values => values with { Arguments = [.. args] });
        var root = new RunMount("/", state) { ReadOnly = options.ReadOnlyRoot };
        RootOutput = Attach(root);
        foreach (var mount in options.Mounts)
            Attach(mount);
    }

    public Output? RootOutput { get; }

    public override IEnumerable<ValueNode> Values => [_node];

    public override IEnumerable<Output> Inputs => Sorted().Select(mount => mount.Mount.Source.Output).OfType<Output>();

    /// <summary>Adds a mount; the answer is the output that stands for it.</summary>
    public Output? Attach(RunMount mount)
    {
        var attached = new AttachedMount(mount);
        _mounts.Add(attached);
        attached.Output = mount.ReadOnly ? mount.Source.Output : new MountOutput(this, attached, _constraints.Platform);
        return attached.Output;
    }

    public Output? Find(string target) => _mounts.Find(mount => mount.Mount.Target == target)?.Output;

    public bool HasMount(string target) => _mounts.Exists(mount => mount.Mount.Target == target);

    public override MarshalledOp Marshal(MarshalContext context)
    {
        var values = context.Values(_node);
        if (values.Arguments is not { Length: > 0 } args)
            throw new LlbException("arguments are required");
        if (values.Directory.Length == 0)
            throw new LlbException("working directory is required");

        var own = _constraints.Require(LlbCaps.ExecMetaBase);
        var exec = new ExecOp
        {
            Meta = new Meta
            {
                Cwd = values.Directory,
                User = values.User,
                Hostname = values.Hostname,
                CgroupParent = values.CgroupParent,
                RemoveMountStubsRecursive = true,
            },
            Network = values.Network,
            Security = values.Security,
        };
        exec.Meta.Args.AddRange(args);
        own = SetEnvironment(exec.Meta, values, own, context);
        own = SetLimits(exec, values, own);

        var op = new Op();
        own = AddMounts(op, exec, own, context);
        own = AddSecrets(exec, own);
        if (own.Platform is null)
            own = own with { Platform = values.Platform };
        var all = own.Over(context.Base);
        var shell = MarshalContext.NewOp(all, withPlatform: true);
        op.Platform = shell.Platform;
        op.Constraints = shell.Constraints;
        op.Exec = exec;
        return MarshalContext.Finish(op, all with { Locations = _constraints.Locations });
    }

    private OpConstraints SetEnvironment(Meta meta, StateValues values, OpConstraints own, MarshalContext context)
    {
        if (_options.Ssh.Count > 0 && values.GetEnv("SSH_AUTH_SOCK") is null)
            values = values.WithEnv("SSH_AUTH_SOCK", SshTarget(0));
        if (context.Capabilities is { } capabilities)
        {
            if (capabilities.Supports(LlbCaps.ExecMetaSetsDefaultPath))
                own = own.Require(LlbCaps.ExecMetaSetsDefaultPath);
            else if (values.GetEnv("PATH") is null)
                values = values.WithEnv("PATH", context.Base.Platform?.Os == "windows" ? DefaultWindowsPath : DefaultPath);
        }

        meta.Env.AddRange(values.EnvironmentLines);
        return own;
    }

    private OpConstraints SetLimits(ExecOp exec, StateValues values, OpConstraints own)
    {
        var meta = exec.Meta;
        if (values.ValidExitCodes is { } codes)
        {
            meta.ValidExitCodes.AddRange(codes);
            own = own.Require(LlbCaps.ExecValidExitCode);
        }

        foreach (var (host, address) in values.ExtraHosts)
            meta.ExtraHosts.Add(new HostIP { Host = host, IP = Address(address) });
        foreach (var limit in values.Ulimits)
            meta.Ulimit.Add(new Ulimit { Name = limit.Name, Soft = limit.Soft, Hard = limit.Hard });
        if (meta.Ulimit.Count > 0)
            own = own.Require(LlbCaps.ExecMetaUlimit);
        if (values.Network != NetMode.Unset)
            own = own.Require(LlbCaps.ExecMetaNetwork);
        if (values.Security != SecurityMode.Sandbox)
            own = own.Require(LlbCaps.ExecMetaSecurity);
        if (_options.Proxy is { } proxy)
        {
            meta.ProxyEnv = new ProxyEnv
            {
                HttpProxy = proxy.Http,
                HttpsProxy = proxy.Https,
                FtpProxy = proxy.Ftp,
                NoProxy = proxy.No,
                AllProxy = proxy.All,
            };
            own = own.Require(LlbCaps.ExecMetaProxy);
        }

        foreach (var device in _options.Devices)
            exec.CdiDevices.Add(new CDIDevice { Name = device.Name, Optional = device.Optional });
        return exec.CdiDevices.Count > 0 ? own.Require(LlbCaps.ExecMetaCdi) : own;
    }

    private OpConstraints AddMounts(Op op, ExecOp exec, OpConstraints own, MarshalContext context)
    {
        var outputs = 0;
        foreach (var mount in Sorted().Select(attached => attached.Mount))
        {
            var input = context.Input(mount.Source.Output);
            if (mount.IsTmpfs && mount.Source.Output is not null)
                throw new LlbException("tmpfs mounts must use scratch");
            var index = -1;
            if (input is not null)
            {
                index = op.Inputs.IndexOf(input);
                if (index < 0)
                {
                    index = op.Inputs.Count;
                    op.Inputs.Add(input);
                }
            }

            exec.Mounts.Add(new Mount
            {
                Input = index,
                Selector = mount.Selector,
                Dest = mount.Target,
                Readonly = mount.ReadOnly,
                Output = mount.HasOutput ? outputs++ : -1,
                MountType = mount.IsTmpfs ? MountType.Tmpfs : mount.IsCache ? MountType.Cache : MountType.Bind,
                TmpfsOpt = mount.IsTmpfs ? new TmpfsOpt { Size = mount.TmpfsSize } : null,
                CacheOpt = mount.IsCache ? new CacheOpt { ID = mount.CacheId, Sharing = mount.CacheSharing } : null,
                ContentCache = mount.ContentCache,
            });
            own = own.Require(MountCapabilities(mount));
        }

        return own;
    }

    private static string[] MountCapabilities(RunMount mount)
    {
        var needed = new List<string>();
        if (mount.Selector.Length > 0)
            needed.Add(LlbCaps.ExecMountSelector);
        if (mount.IsCache)
            needed.AddRange([LlbCaps.ExecMountCache, LlbCaps.ExecMountCacheSharing]);
        else if (mount.IsTmpfs)
            needed.AddRange(mount.TmpfsSize > 0 ? [LlbCaps.ExecMountTmpfs, LlbCaps.ExecMountTmpfsSize] : [LlbCaps.ExecMountTmpfs]);
        else if (mount.Source.Output is not null)
            needed.Add(LlbCaps.ExecMountBind);
        if (mount.ContentCache != MountContentCache.Default)
            needed.Add(LlbCaps.ExecMountContentCache);
        return [.. needed];
    }

    private OpConstraints AddSecrets(ExecOp exec, OpConstraints own)
    {
        foreach (var secret in _options.Secrets)
        {
            own = own.Require(LlbCaps.ExecMountSecret);
            if (secret.Environment is { } name)
            {
                own = own.Require(LlbCaps.ExecSecretEnv);
                exec.Secretenv.Add(new SecretEnv { ID = secret.Id, Name = name, Optional = secret.Optional });
            }

            if (secret.Target is { } target)
            {
                exec.Mounts.Add(new Mount
                {
                    Input = -1,
                    Dest = target,
                    MountType = MountType.Secret,
                    SecretOpt = new SecretOpt { ID = secret.Id, Uid = secret.Uid, Gid = secret.Gid, Mode = secret.Mode, Optional = secret.Optional },
                });
            }
        }

        for (var i = 0; i < _options.Ssh.Count; i++)
        {
            var ssh = _options.Ssh[i];
            own = own.Require(LlbCaps.ExecMountSsh);
            exec.Mounts.Add(new Mount
            {
                Input = -1,
                Dest = SshTarget(i),
                MountType = MountType.Ssh,
                SSHOpt = new SSHOpt { ID = ssh.Id, Uid = ssh.Uid, Gid = ssh.Gid, Mode = ssh.Mode, Optional = ssh.Optional },
            });
        }

        return own;
    }

    private string SshTarget(int index) =>
        _options.Ssh[index].Target is { Length: > 0 } target ? target : $"/run/buildkit/ssh_agent.{index}";

    private static string Address(System.Net.IPAddress address) =>
        (address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address).ToString();

    private IEnumerable<AttachedMount> Sorted() => _mounts.OrderBy(mount => mount.Mount.Target, ByteOrder.Instance);

    private sealed class AttachedMount(RunMount mount)
    {
        public RunMount Mount { get; } = mount;

        public Output? Output { get; set; }

    }

    private sealed class MountOutput(ExecVertex vertex, AttachedMount mount, Platform? platform) : VertexOutput(vertex, platform)
    {
        public override int Index
        {
            get
            {
                var target = mount.Mount.Target;
                if (mount.Mount.IsTmpfs)
                    throw new LlbException($"tmpfs mount for {target} can't be used as a parent");
                if (mount.Mount.NoOutput)
                    throw new LlbException($"mount marked no-output and {target} can't be used as a parent");
                if (!mount.Mount.HasOutput)
                    throw new LlbException($"invalid mount: {target}");
                return vertex.Sorted().TakeWhile(other => !ReferenceEquals(other, mount)).Count(other => other.Mount.HasOutput);
            }
        }
    }
}
