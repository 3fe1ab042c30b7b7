using System.Net;
using BuildKit.Daemon.Solving;
using BuildKit.Llb;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Pb;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Ops.Exec;
using BuildKit.Worker.Sessions;

namespace BuildKit.Daemon.Gateway.Containers;

/// <summary>
/// A container a frontend asked for (spec 01 §6.3): mounts that are ready, and processes that come later. The first
/// process starts the container, the others join it. What is written to its mounts is thrown away in the end.
/// </summary>
internal sealed class GatewayContainer : IAsyncDisposable
{
    private readonly ExecEnvironment _environment;
    private readonly BuildPermissions _permissions;
    private readonly IReadOnlyList<string> _sessionIds;
    private readonly NewContainerRequest _request;
    private readonly ExecMounts _mounts;
    private readonly string _id = RandomContainerId.New();
    private readonly CancellationTokenSource _released = new();
    private readonly SemaphoreSlim _starting = new(1, 1);
    private readonly Lock _gate = new();
    private readonly List<Task> _processes = [];
    private bool _isStarted;

    private GatewayContainer(ExecEnvironment environment, Build build, NewContainerRequest request, ExecMounts mounts)
    {
        _environment = environment;
        _permissions = build.Permissions;
        _sessionIds = Sessions(build);
        _request = request;
        _mounts = mounts;
    }

    /// <summary>Prepares the mounts.</summary>
    /// <param name="environment">What containers run with.</param>
    /// <param name="build">The build it belongs to.</param>
    /// <param name="request">What was asked for.</param>
    /// <param name="inputs">The tree of each mount; null for none.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    public static async Task<GatewayContainer> CreateAsync(
        ExecEnvironment environment, Build build, NewContainerRequest request, IReadOnlyList<IImmutableRef?> inputs, CancellationToken cancellationToken)
    {
        foreach (var host in request.ExtraHosts)
            if (!IPAddress.TryParse(host.IP, out _))
                throw new InvalidOperationException($"failed to parse IP {host.IP}");
        var mounts = new List<Mount>();
        for (var i = 0; i < request.Mounts.Count; i++)
        {
            var mount = request.Mounts[i].Clone();
            mount.Input = inputs[i] is null ? -1 : i;
            mount.Output = -1;
            // The root is a copy that nobody sees afterwards: it can be written to, whatever was asked.
            if (mount.Dest == "/")
                mount.Readonly = false;
            mounts.Add(mount);
        }
        var prepared = await ExecMounts.PrepareAsync(
            environment, Sessions(build), mounts, inputs, cwd: "/", "container " + request.ContainerID, cancellationToken);
        return new GatewayContainer(environment, build, request, prepared);
    }

    /// <summary>
    /// Starts a process and returns its run when it has begun; that completes or fails with the process. A process that
    /// cannot begin is a run that has failed already.
    /// </summary>
    /// <param name="init">What to run.</param>
    /// <param name="io">Its streams.</param>
    /// <param name="cancellationToken">Ends the wait for the start, not the process.</param>
    public async Task<Task> StartAsync(InitMessage init, ContainerIo io, CancellationToken cancellationToken)
    {
        await _starting.WaitAsync(cancellationToken);
        try
        {
            var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Task run;
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_released.IsCancellationRequested, this);
                run = RunAsync(init, io, isFirst: !_isStarted, started.SetResult);
                _isStarted = true;
                _processes.Add(run);
            }
            await Task.WhenAny(started.Task, run).WaitAsync(cancellationToken);
            return run;
        }
        finally
        {
            _starting.Release();
        }
    }

    /// <summary>Kills what runs, waits for its end, and lets go of the mounts.</summary>
    public async ValueTask DisposeAsync()
    {
        Task[] processes;
        lock (_gate)
        {
            _released.Cancel();
            processes = [.. _processes];
        }
        await Task.WhenAll(processes).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _mounts.DisposeAsync();
    }

    private async Task RunAsync(InitMessage init, ContainerIo io, bool isFirst, Action started)
    {
        await Task.Yield();
        if (_request.Network == NetMode.Host && !_permissions.NetworkHost)
            throw new LlbException("network.host is not allowed");
        if (init.Security.ToSecurity() == Worker.Executor.SecurityMode.Insecure && !_permissions.SecurityInsecure)
            throw new LlbException("security.insecure is not allowed");
        var meta = init.Meta ?? throw new LlbException("a process without arguments cannot be started");
        IReadOnlyList<string> args = meta.Args;
        var mounts = _mounts.Mounts;
        if (_request.Platform is { } platform && _environment.Emulation.For(PlatformConversion.ToOci(platform).Normalize(), args) is var (emulatedArgs, emulator) && emulator is not null)
        {
            args = emulatedArgs;
            mounts = [.. mounts, emulator];
        }
        var process = new ContainerProcess
        {
            Args = args,
            Env = await EnvironmentAsync(init, meta, _released.Token),
            Cwd = meta.Cwd.Length > 0 ? meta.Cwd : "/",
            User = meta.User,
            Tty = init.Tty,
            Stdin = io.Input?.Reader.AsStream(),
            Stdout = io.Output is { } output ? output.Write : Discard,
            Stderr = io.Error is { } error ? error.Write : Discard,
            Signals = io.Signals.Reader.ReadAllAsync(CancellationToken.None),
            Sizes = io.Sizes.Reader.ReadAllAsync(CancellationToken.None),
        };
        if (!isFirst)
        {
            await _environment.Executor.ExecAsync(_id, process, started, _released.Token);
            return;
        }
        await _environment.Executor.RunAsync(
            new ContainerRequest
            {
                Id = _id,
                Root = _mounts.Root,
                Mounts = mounts,
                Hostname = _request.Hostname,
                ExtraHosts = [.. _request.ExtraHosts.Select(host => new ExtraHost(host.Host, host.IP))],
                Network = _request.Network.ToNetwork(),
                Security = init.Security.ToSecurity(),
                RemoveMountStubsRecursive = meta.RemoveMountStubsRecursive,
                Process = process,
                Started = started,
            },
            _released.Token);
    }

    private async Task<IReadOnlyList<string>> EnvironmentAsync(InitMessage init, Meta meta, CancellationToken cancellationToken)
    {
        var entries = new List<string>(meta.Env);
        if (!StepEnvironment.Sets(entries, "PATH"))
            entries.Add(StepEnvironment.DefaultPath);
        if (init.Tty && !StepEnvironment.Sets(entries, "TERM"))
            entries.Add("TERM=xterm");
        await SecretEnvironment.AddAsync(entries, init.Secretenv, _environment.Sessions, _sessionIds, cancellationToken);
        return entries;
    }

    private static IReadOnlyList<string> Sessions(Build build) => build.Job.SessionId.Length > 0 ? [build.Job.SessionId] : [];

    private static void Discard(ReadOnlyMemory<byte> bytes)
    {
        // The frontend did not ask for this stream.
    }
}
