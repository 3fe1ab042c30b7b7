using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Ops.Exec;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sessions;
using Platform = BuildKit.Oci.Platform;
using Ulimit = BuildKit.Worker.Executor.Ulimit;

namespace BuildKit.Worker.Ops;

/// <summary>Runs a process on the trees of its inputs (a Dockerfile's <c>RUN</c>).</summary>
public sealed class ExecOperation(
    ExecOp op, Platform platform, int inputCount, ExecEnvironment environment, IContentHasher hasher, string workerId, WorkerSlots slots) : IOperation
{
    /// <inheritdoc/>
    public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken) =>
        Task.FromResult(new CacheMapResponse(ExecDigest.Compute(op, platform, inputCount).ToCacheMap(hasher), Complete: true));

    /// <inheritdoc/>
    public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => slots.AcquireAsync(cancellationToken);

    /// <inheritdoc/>
    public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken)
    {
        var step = string.Join(' ', op.Meta.Args);
        var refs = inputs.Select(WorkerResult.RefOf).ToList();
        var stdout = new StepLog(1, environment.LogLimits, environment.Time, Write);
        var stderr = new StepLog(2, environment.LogLimits, environment.Time, Write);
        await using var mounts = await ExecMounts.PrepareAsync(environment, context.SessionIds, op.Mounts, refs, op.Meta.Cwd, step, cancellationToken);
        try
        {
            var request = await RequestAsync(context, mounts, stdout.Write, stderr.Write, cancellationToken);
            await environment.Executor.RunAsync(request, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            stdout.FlushHeldBack();
            stderr.FlushHeldBack();
            IReadOnlyList<IImmutableRef?> left;
            try
            {
                left = await mounts.TakeFailedAsync(op.Mounts, refs, CancellationToken.None);
            }
            catch (Exception failure)
            {
                throw new ProcessException(step, new IOException($"error committing what the failed step left: {failure.Message}: {exception.Message}", exception));
            }
            throw new ProcessException(step, exception)
            {
                Inputs = [.. op.Mounts.Select(mount => mount.Input < 0 ? null : inputs[(int)mount.Input]?.Clone())],
                Mounts = [.. left.Select(reference => WorkerResult.From(workerId, reference))],
            };
        }
        var outputs = await mounts.TakeOutputsAsync(cancellationToken);
        return [.. outputs.Select(output => (IResult?)WorkerResult.From(workerId, output))];

        void Write(int stream, ReadOnlyMemory<byte> bytes) =>
            context.Progress.Write(new ProgressLog(default, stream, bytes, environment.Time.GetUtcNow()));
    }

    private async Task<ContainerRequest> RequestAsync(
        IOperationContext context, ExecMounts mounts, Action<ReadOnlyMemory<byte>> stdout, Action<ReadOnlyMemory<byte>> stderr, CancellationToken cancellationToken)
    {
        var meta = op.Meta;
        IReadOnlyList<string> args = meta.Args;
        var containerMounts = mounts.Mounts;
        if (environment.Emulation.For(platform, args) is var (emulatedArgs, emulator) && emulator is not null)
        {
            args = emulatedArgs;
            containerMounts = [.. containerMounts, emulator];
        }
        return new ContainerRequest
        {
            Id = RandomContainerId.New(),
            Root = mounts.Root,
            ReadOnlyRoot = mounts.ReadOnlyRoot,
            Mounts = containerMounts,
            Hostname = meta.Hostname,
            ExtraHosts = [.. meta.ExtraHosts.Select(host => new ExtraHost(host.Host, host.IP))],
            Network = op.Network.ToNetwork(),
            Security = op.Security.ToSecurity(),
            CgroupParent = meta.CgroupParent,
            Ulimits = [.. meta.Ulimit.Select(limit => new Ulimit(limit.Name, limit.Soft, limit.Hard))],
            RemoveMountStubsRecursive = meta.RemoveMountStubsRecursive,
            Process = new ContainerProcess
            {
                Args = args,
                Env = await EnvironmentAsync(context, cancellationToken),
                Cwd = meta.Cwd.Length > 0 ? meta.Cwd : "/",
                User = meta.User,
                ValidExitCodes = [.. meta.ValidExitCodes],
                Stdout = stdout,
                Stderr = stderr,
            },
        };
    }

    private async Task<IReadOnlyList<string>> EnvironmentAsync(IOperationContext context, CancellationToken cancellationToken)
    {
        var entries = new List<string>(op.Meta.Env);
        if (op.Meta.ProxyEnv is { } proxy)
        {
            AddProxy(entries, "HTTP_PROXY", proxy.HttpProxy);
            AddProxy(entries, "HTTPS_PROXY", proxy.HttpsProxy);
            AddProxy(entries, "FTP_PROXY", proxy.FtpProxy);
            AddProxy(entries, "NO_PROXY", proxy.NoProxy);
            AddProxy(entries, "ALL_PROXY", proxy.AllProxy);
        }
        if (!StepEnvironment.Sets(entries, "PATH"))
            entries.Add(StepEnvironment.DefaultPath);
        await SecretEnvironment.AddAsync(entries, op.Secretenv, environment.Sessions, context.SessionIds, cancellationToken);
        return entries;
    }

    private static void AddProxy(List<string> entries, string name, string value)
    {
        if (value.Length == 0)
            return;
        entries.Add(name + "=" + value);
        entries.Add(name.ToLowerInvariant() + "=" + value);
    }
}

/// <summary>A step's process failed; says which, in the reference's words, and keeps what it worked on.</summary>
public sealed class ProcessException(string step, Exception cause)
    : Exception($"process {GoQuote.Quote(step)} did not complete successfully: {cause.Message}", cause), IResultHolder
{
    /// <summary>What was mounted, by the position of the mount; null for nothing.</summary>
    public IReadOnlyList<IResult?> Inputs { get; init; } = [];

    /// <summary>What the mounts held in the end, by position.</summary>
    public IReadOnlyList<IResult?> Mounts { get; init; } = [];

    /// <inheritdoc/>
    public IEnumerable<IResult> HeldResults => Inputs.Concat(Mounts).OfType<IResult>();
}
