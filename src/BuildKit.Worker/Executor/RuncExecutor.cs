using System.Collections.Concurrent;
using BuildKit.Linux;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using Microsoft.Extensions.Logging;

namespace BuildKit.Worker.Executor;

/// <summary>Settings of the executor that hold for every container.</summary>
public sealed record ExecutorOptions
{
    /// <summary>Directory for bundles and the files mounted into containers.</summary>
    public required string Directory { get; init; }

    /// <summary>What the host offers.</summary>
    public required HostFeatures Host { get; init; }

    /// <summary>Networks by mode; every mode a step may ask for must be there.</summary>
    public required IReadOnlyDictionary<NetworkMode, INetworkProvider> Networks { get; init; }

    /// <summary>DNS settings of the daemon's configuration.</summary>
    public DnsSettings? Dns { get; init; }

    /// <summary>Cgroup parent of steps that name none.</summary>
    public string DefaultCgroupParent { get; init; } = "";

    /// <summary>AppArmor profile of sandboxed steps.</summary>
    public string AppArmorProfile { get; init; } = "";

    /// <summary>Soft limit of open files containers get, when the daemon's own differs from what it was started with.</summary>
    public (long Soft, long Hard)? OpenFiles { get; init; }

    /// <summary>The daemon runs in a user namespace.</summary>
    public bool Rootless { get; init; }

    /// <summary>Share the host's process namespace (rootless only).</summary>
    public bool NoProcessSandbox { get; init; }
}

/// <summary>
/// Runs steps with an OCI runtime. One run: network → host files → root mounted in a bundle → step mounts →
/// user and working directory → config.json → runtime → output until the end → everything undone in reverse
/// (spec 06 §6.1).
/// </summary>
public sealed class RuncExecutor(ExecutorOptions options, OciRuntime runtime, ILogger<RuncExecutor> logger) : IExecutor
{
    /// <summary>Host name of containers whose step gives none.</summary>
    public const string DefaultHostname = "buildkitsandbox";

    /// <summary>Containers between the start and the end of their first process; the task completes with it.</summary>
    private readonly ConcurrentDictionary<string, Task> _running = new(StringComparer.Ordinal);
    private readonly SharedHostFiles _hostFiles = new(options.Directory, options.Dns);

    /// <summary>
    /// Removes what a daemon that was killed left behind: containers, mounted roots, bundles.
    /// </summary>
    public async Task RecoverAsync(CancellationToken cancellationToken)
    {
        foreach (var id in runtime.LeftoverIds())
        {
            logger.LogWarning("removing container {Id} left by an earlier daemon", id);
            await runtime.DeleteAsync(id, cancellationToken);
        }
        foreach (var bundle in Directory.EnumerateDirectories(options.Directory))
        {
            if (Path.GetFileName(bundle) == "state")
                continue;
            foreach (var mount in MountTable.Below(bundle).Reverse())
                Mounts.UnmountAll(mount.MountPoint);
            LinuxDirectory.RemoveTree(bundle);
        }
    }

    /// <inheritdoc/>
    public async Task RunAsync(ContainerRequest request, CancellationToken cancellationToken)
    {
        if (!options.Networks.TryGetValue(request.Network, out var network))
            throw new InvalidOperationException($"unknown network mode {request.Network}");
        await using var networkLease = await network.AcquireAsync(request.Hostname, cancellationToken);
        using var hosts = _hostFiles.Hosts(request.Hostname, request.ExtraHosts);
        var resolvConf = _hostFiles.ResolvConf(network.IsHost);

        await using var root = await request.Root.AcquireAsync(cancellationToken);
        await using var bundle = Bundle.Create(options.Directory, request.Id, root.Mounts);
        await using var stepMounts = new StepMounts(Path.Combine(bundle.Path, "sub"));
        var mounts = await stepMounts.ResolveAsync(request.Mounts, cancellationToken);
        var stubs = MountStubs.Record(
            bundle.RootFs,
            ["/etc/resolv.conf", "/etc/hosts", .. request.Mounts.Select(m => m.Destination).Where(d => d != "/")],
            request.RemoveMountStubsRecursive);

        var user = UserLookup.Find(bundle.RootFs, request.Process.User);
        CreateWorkingDirectory(bundle.RootFs, request.Process.Cwd, user);
        if (!request.ReadOnlyRoot)
            CreateMountParents(bundle.RootFs, request.Mounts.Select(m => m.Destination));
        var spec = Spec(request, bundle, user, mounts, network.IsHost, networkLease.NamespacePath, resolvConf, hosts.Path);
        await File.WriteAllBytesAsync(Path.Combine(bundle.Path, "config.json"), spec.ToJson(), cancellationToken);

        var keep = options.Host.CgroupNamespaces && await runtime.KeepsContainersAsync(cancellationToken);
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _running[request.Id] = ended.Task;
        try
        {
            await new ProcessRun(runtime, request.Id, pidFile: null, request.Process, logger).RunAsync(
                streams => runtime.StartRunAsync(bundle.Path, request.Id, keep, streams), request.Started, cancellationToken);
        }
        catch (ExitException exception) when (keep && exception.Code != ExitException.NoCode && CgroupMemory.WasKilled(spec.CgroupsPath))
        {
            throw ExitException.OutOfMemory(exception.Code);
        }
        finally
        {
            _running.TryRemove(request.Id, out _);
            ended.SetResult();
            if (keep)
                await runtime.DeleteAsync(request.Id, CancellationToken.None);
            await stepMounts.DisposeAsync();
            stubs.Remove();
        }
    }

    /// <inheritdoc/>
    public async Task ExecAsync(string containerId, ContainerProcess process, Action? started, CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("buildkit-exec");
        try
        {
            var processFile = Path.Combine(directory.FullName, "process.json");
            var pidFile = Path.Combine(directory.FullName, "pidfile");
            var bundle = Path.Combine(options.Directory, containerId);
            if (!_running.TryGetValue(containerId, out var ended))
                throw new InvalidOperationException($"container {containerId} not found");
            await RunningContainer.WaitUntilRunningAsync(runtime, containerId, ended, cancellationToken);
            var user = process.User.Length == 0 ? null : UserLookup.Find(Path.Combine(bundle, "rootfs"), process.User);
            await File.WriteAllBytesAsync(
                processFile, RunningContainer.ProcessJson(Path.Combine(bundle, "config.json"), process, user), cancellationToken);
            await new ProcessRun(runtime, containerId, pidFile, process, logger).RunAsync(
                streams => runtime.StartExecAsync(processFile, pidFile, containerId, streams), started, cancellationToken);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private OciSpec Spec(
        ContainerRequest request, Bundle bundle, ProcessUser user, IReadOnlyList<(string, MountSpec)> mounts, bool hostNetwork,
        string? networkNamespace, string resolvConf, string hosts)
    {
        var process = request.Process;
        if (request.Security == SecurityMode.Sandbox && options.AppArmorProfile.Length > 0 && !options.Host.AppArmor)
            throw new InvalidOperationException($"AppArmor is not supported on this host, but the profile '{options.AppArmorProfile}' was specified");
        IReadOnlyList<Ulimit> limits = request.Ulimits;
        if (limits.Count == 0 && options.OpenFiles is var (soft, hard) && options.OpenFiles is not null)
            limits = [new Ulimit("nofile", soft, hard)];
        return new OciSpec
        {
            RootPath = bundle.RootFs,
            ReadOnlyRoot = request.ReadOnlyRoot,
            Args = process.Args,
            Env = StepEnvironment.Merge(process.Env.Any(e => e.StartsWith("HOME=", StringComparison.Ordinal)) ? process.Env : [.. process.Env, "HOME=" + UserLookup.Home(bundle.RootFs, user.Uid)]),
            Cwd = process.Cwd,
            User = user,
            Hostname = request.Hostname.Length > 0 ? request.Hostname : DefaultHostname,
            CgroupsPath = CgroupsPath(request.CgroupParent.Length > 0 ? request.CgroupParent : options.DefaultCgroupParent, request.Id),
            ResolvConfPath = resolvConf,
            HostsPath = hosts,
            Mounts = mounts,
            Ulimits = limits,
            Tty = process.Tty,
            Insecure = request.Security == SecurityMode.Insecure,
            HostNetwork = hostNetwork,
            NetworkNamespacePath = networkNamespace,
            Host = options.Host,
            AppArmorProfile = options.AppArmorProfile,
            Rootless = options.Rootless,
            NoProcessSandbox = options.NoProcessSandbox,
        };
    }

    private static string CgroupsPath(string parent, string id)
    {
        if (parent.Length == 0)
            return "/buildkit/" + id;
        return parent.Contains(".slice", StringComparison.Ordinal) && parent.EndsWith(':')
            ? parent + id
            : Path.GetFullPath("/" + parent + "/buildkit/" + id);
    }

    /// <summary>The working directory, and each missing directory above it, belongs to the step's user.</summary>
    private static void CreateWorkingDirectory(string rootFs, string cwd, ProcessUser user)
    {
        var path = rootFs;
        foreach (var name in Path.GetRelativePath(rootFs, RootedPath.Resolve(rootFs, cwd, followLast: true)).Split('/'))
        {
            if (name == ".")
                continue;
            path += "/" + name;
            if (LinuxFile.TryLstat(path, out var found))
            {
                if (!found.IsDirectory)
                    throw new InvalidOperationException($"working dir {cwd} points to invalid target");
                continue;
            }
            LinuxFile.Mkdir(path, Convert.ToUInt32("755", 8));
            LinuxFile.Lchown(path, user.Uid, user.Gid);
        }
    }

    /// <summary>What mounts stand on stays in the layer; runtimes differ in the mode they would give it (crun: 1755).</summary>
    private static void CreateMountParents(string rootFs, IEnumerable<string> destinations)
    {
        string[] own = ["/proc", "/dev", "/sys"];
        var mounted = destinations.Select(d => Path.GetFullPath("/" + d)).Where(d => d != "/").ToList();
        foreach (var directory in own.Concat(mounted.Append("/etc/hosts").Select(d => Path.GetDirectoryName(d)!)))
        {
            if (own.Concat(mounted).Any(m => directory.StartsWith(m + "/", StringComparison.Ordinal)))
                continue; // inside another mount
            var path = rootFs;
            foreach (var name in Path.GetRelativePath(rootFs, RootedPath.Resolve(rootFs, directory, followLast: true)).Split('/').Where(n => n != "."))
            {
                path += "/" + name;
                if (!LinuxFile.TryLstat(path, out var found))
                    LinuxFile.Mkdir(path, Convert.ToUInt32("755", 8));
                else if (!found.IsDirectory)
                    break; // the runtime tells what is wrong
            }
        }
    }
}
