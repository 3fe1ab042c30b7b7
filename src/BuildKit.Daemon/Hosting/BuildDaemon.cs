using BuildKit.Daemon.Configuration;
using BuildKit.Daemon.Control;
using BuildKit.Daemon.Errors;
using BuildKit.Daemon.Explaining;
using BuildKit.Daemon.Gateway;
using BuildKit.Daemon.Solving;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Server;
using BuildKit.Registry;
using BuildKit.Registry.Hosts;
using BuildKit.RemoteCache.Backends;
using BuildKit.Session.Transport;
using BuildKit.Solver;
using BuildKit.Storage;
using BuildKit.Storage.Checksums;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Ops.Exec;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sessions;
using BuildKit.Worker.Sources;
using BuildKit.Worker.Sources.Git;
using BuildKit.Worker.Sources.Http;
using BuildKit.Worker.Sources.Images;
using BuildKit.Worker.Sources.Local;
using BuildKit.Worker.Sources.OciLayout;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Hosting;

/// <summary>The daemon put together: storage, worker, solver, services, listeners; one object for the process' life.</summary>
internal sealed class BuildDaemon : IAsyncDisposable
{
    private readonly Stack<IAsyncDisposable> _owned = new();
    private readonly ILogger _log;
    private GrpcServer? _server;
    private Listeners? _listeners;

    private BuildDaemon(ILogger log) => _log = log;

    /// <summary>Opens the state, repairs what an earlier daemon left behind, and listens.</summary>
    public static async Task<BuildDaemon> StartAsync(DaemonConfig config, ILoggerFactory logging, CancellationToken cancellationToken)
    {
        var daemon = new BuildDaemon(logging.CreateLogger("buildkitd"));
        try
        {
            await daemon.OpenAsync(config, logging, cancellationToken);
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }

    /// <summary>Refuses new calls, removes the sockets and waits for running builds.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        _listeners?.Remove();
        if (_server is not null)
            await _server.StopAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        while (_owned.TryPop(out var owned))
            await owned.DisposeAsync();
    }

    private async Task OpenAsync(DaemonConfig config, ILoggerFactory logging, CancellationToken cancellationToken)
    {
        var time = TimeProvider.System;
        _listeners = Listeners.Open(config, _log);
        var storage = Own(await StorageRoot.OpenAsync(config.Root, new StorageOptions { Snapshotter = config.Worker.Snapshotter, Time = time }, cancellationToken));
        _log.LogInformation("auto snapshotter: using {Name}", storage.Snapshotter.Name);

        var keyStorage = SqliteKeyStorage.Open(Path.Combine(config.Root, "cache.db"));
        Own(new Disposing(keyStorage));
        var workerId = WorkerIdentity.Load(storage.WorkerDirectory);
        var results = new WorkerResultStorage(workerId, storage.Refs);
        var keys = new LocalCacheManager(new SessionKeyStorage(keyStorage), results);

        var sessionManager = new SessionManager(time);
        var sessions = new ClientSessions(sessionManager);
        var firstRetry = TransferPatience.FirstRetry();
        var registry = new RegistryClient(WorkerIdentity.Registries(config, firstRetry), time);
        Own(new Disposing(registry));
        var temporary = Path.Combine(storage.WorkerDirectory, "mounts");
        LinuxDirectory.RemoveTree(temporary);
        LinuxFile.MkdirAll(temporary, Convert.ToUInt32("711", 8));

        var executor = await ExecutorAsync(config, storage, logging, cancellationToken);
        var images = new ImageResolver(registry, storage.Content, ids => new SessionRegistryCredentials(sessions, ids));
        var cacheMounts = new CacheMounts(storage.Refs, time);
        var platforms = WorkerIdentity.Platforms(config);
        var environment = new ExecEnvironment
        {
            Refs = storage.Refs,
            Executor = executor,
            CacheMounts = cacheMounts,
            Sessions = new StepSessions(sessions, Path.Combine(temporary, "ssh")),
            TemporaryDirectory = temporary,
            UserNamespace = config.Rootless,
            LogLimits = StepLogLimits.FromEnvironment(),
            Time = time,
            Emulation = new Emulation(platforms.ToHashSet()),
        };
        var slots = new WorkerSlots(config.Worker.MaxParallelism);
        Own(new Disposing(slots));
        var git = new GitRunner(environment.LogLimits, time);
        Own(new Disposing(git));
        var http = new HttpFetcher(sessions);
        Own(new Disposing(http));
        IReadOnlyList<ISource> sources =
        [
            new ImageSource(images, storage.Refs),
            new OciLayoutSource(sessions, storage.Refs),
            new LocalSource(sessions, storage.Refs, temporary),
            new GitSource(git, sessions, environment.Sessions, storage.Refs, temporary),
            new HttpSource(http, storage.Refs, temporary),
        ];
        var definitions = new DefinitionLoader(platforms[0], cacheMounts);
        var checksums = new ContentChecksum(temporary);
        var operations = new OperationFactory(
            environment, sources, new ContentHasher(checksums, workerId), workerId, slots, temporary, definitions.SolveBelowAsync);
        var steps = StepStore.Open(Path.Combine(config.Root, "explain.db"), log: logging.CreateLogger<StepStore>());
        Own(new Disposing(steps));
        var builds = new BuildLog(steps, storage.Refs, checksums, workerId, time, logging.CreateLogger<BuildLog>());
        var solver = Own(new GraphSolver(operations, keys, time, logging.CreateLogger<GraphSolver>()) { Observer = new StepRecorder(steps, time) });

        var diskSize = FileSystemStatistics.Of(config.Root).TotalBytes;
        var rules = GcDefaults.Rules(config.Worker, diskSize);
        var worker = new WorkerDescription(workerId, WorkerIdentity.Labels(config, storage.Snapshotter.Name), platforms, rules);
        var garbage = Own(new GarbageCollection(storage.Refs, keys, rules, builds, time, logging.CreateLogger<GarbageCollection>()));
        var services = new BuildServices
        {
            Solver = solver,
            Refs = storage.Refs,
            Images = images,
            Exec = environment,
            Definitions = definitions,
            CacheMountTransfer = new CacheMountTransfer(cacheMounts, storage.Refs, temporary),
            Sessions = sessions,
            Caches = new CacheTransfer(CacheBackendRegistry.WithBuiltIns(), registry, sessions, storage.Refs, workerId, time, firstRetry),
            Exporters = new ExporterServices
            {
                Content = storage.Content,
                Leases = storage.Leases,
                Registry = registry,
                DefaultPlatform = platforms[0],
                TemporaryDirectory = temporary,
                Version = WorkerMessages.Version,
                Time = time,
            }.CreateFactories(),
            Worker = worker,
            TemporaryDirectory = temporary,
            AllowedEntitlements = config.InsecureEntitlements,
            DockerfileFrontend = config.DockerfileFrontend,
            Gateway = GatewaySettings.Of(config),
            Logging = logging,
        };
        _log.LogInformation(
            "found worker \"{Id}\", labels=map[{Labels}], platforms=[{Platforms}]", workerId,
            string.Join(' ', worker.Labels.OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => label.Key + ":" + label.Value)), string.Join(' ', platforms));
        _log.LogInformation("found 1 workers, default=\"{Id}\"", workerId);
        _log.LogWarning("currently, only the default worker can be used.");

        var gateways = new GatewayBuilds(time);
        var memory = new IdleMemory(time);
        Own(new Disposing(memory));
        var solves = new SolveRequests(services, gateways, garbage, memory, builds, logging.CreateLogger<SolveRequests>());
        GrpcService[] all =
        [
            new ControlService(services, sessionManager, solves, garbage).ToService(),
            new GatewayService(gateways, services).ToService(),
            new ContentService(storage.Content).ToService(),
            builds.ToService(),
            TraceService.Create(),
            HealthService.Create(),
        ];
        _server = Own(new GrpcServer(all, new GrpcServerOptions { MapError = Report, Time = time }));
        await _server.StartAsync(_listeners.All, cancellationToken);
        _listeners.Own(config);
        foreach (var name in _listeners.Names)
            _log.LogInformation("running server on {Address}", name);
        garbage.Start();
    }

    private RpcException Report(Exception exception)
    {
        var mapped = ErrorMapper.Map(exception);
        if (mapped.Code != StatusCode.Cancelled)
            _log.LogError(exception, "request returned error: {Message}", mapped.Message);
        return mapped;
    }

    private async Task<RuncExecutor> ExecutorAsync(DaemonConfig config, StorageRoot storage, ILoggerFactory logging, CancellationToken cancellationToken)
    {
        var directory = Path.Combine(storage.WorkerDirectory, "executor");
        LinuxFile.MkdirAll(directory, Convert.ToUInt32("711", 8));
        var host = HostFeatures.Detect(loopDevices: 0, config.Rootless);
        var runtime = OciRuntime.Find(config.Worker.Binary, host, directory);
        Own(new Disposing(runtime));
        _log.LogDebug("running steps with {Path}", runtime.Path);
        if (config.Worker.NetworkMode is "auto" or "")
            _log.LogWarning("using host network as the default");
        var hostNetwork = new HostNetwork();
        var executor = new RuncExecutor(
            new ExecutorOptions
            {
                Directory = directory,
                Host = host,
                Networks = new Dictionary<NetworkMode, INetworkProvider>
                {
                    [NetworkMode.Default] = hostNetwork,
                    [NetworkMode.Host] = hostNetwork,
                    [NetworkMode.None] = new NoNetwork(),
                },
                Dns = config.Dns,
                DefaultCgroupParent = config.Worker.DefaultCgroupParent,
                AppArmorProfile = config.Worker.AppArmorProfile,
                OpenFiles = PrivateMounts.OpenFiles,
                Rootless = config.Rootless,
                NoProcessSandbox = config.Worker.NoProcessSandbox,
            },
            runtime, logging.CreateLogger<RuncExecutor>());
        await executor.RecoverAsync(cancellationToken);
        return executor;
    }

    private T Own<T>(T owned)
        where T : IAsyncDisposable
    {
        _owned.Push(owned);
        return owned;
    }

    private sealed class Disposing(IDisposable inner) : IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            inner.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
