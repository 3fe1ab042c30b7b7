using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>
/// The mounts of one step: inputs, writable children of inputs, caches, secrets. Owns whatever it made until
/// an output is taken or it is disposed (spec 06 §7).
/// </summary>
public sealed class ExecMounts : IAsyncDisposable
{
    private readonly Dictionary<int, Output> _outputs = [];
    private readonly List<IAsyncDisposable> _owned = [];
    private readonly List<ContainerMount> _mounts = [];
    private readonly Dictionary<int, IMutableRef> _children = [];

    private ExecMounts()
    {
    }

    /// <summary>The root file system.</summary>
    public IMountable Root { get; private set; } = null!;

    /// <summary>The container may not write to its root.</summary>
    public bool ReadOnlyRoot { get; private set; }

    /// <summary>Every mount but the root.</summary>
    public IReadOnlyList<ContainerMount> Mounts => _mounts;

    /// <summary>Prepares all mounts of a step.</summary>
    public static async Task<ExecMounts> PrepareAsync(
        ExecEnvironment environment, IEnumerable<string> sessionIds, IReadOnlyList<Mount> mounts, IReadOnlyList<IImmutableRef?> inputs,
        string cwd, string step, CancellationToken cancellationToken)
    {
        var prepared = new ExecMounts();
        try
        {
            var caches = new Dictionary<string, ICacheMountHandle>(StringComparer.Ordinal);
            for (var i = 0; i < mounts.Count; i++)
                await prepared.AddAsync(environment, sessionIds, mounts[i], i, inputs, cwd, step, caches, cancellationToken);
            if (prepared.Root is null)
                throw new InvalidOperationException("invalid exec op with no rootfs");
            return prepared;
        }
        catch
        {
            await prepared.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// The results of the step, by output index. Writable ones are committed; afterwards they belong to the caller.
    /// </summary>
    public async Task<IReadOnlyList<IImmutableRef?>> TakeOutputsAsync(CancellationToken cancellationToken)
    {
        var results = new IImmutableRef?[_outputs.Count];
        foreach (var (index, output) in _outputs.OrderBy(output => output.Key))
        {
            if (index >= results.Length)
                throw new InvalidOperationException($"invalid exec op: output {index} without the outputs before it");
            results[index] = output.Mutable is { } mutable ? await mutable.CommitAsync(cancellationToken) : output.Unchanged?.Clone();
        }
        _outputs.Clear();
        return results;
    }

    /// <summary>
    /// What a step that failed leaves, by the position of the mount: what it wrote, else what was mounted, else null.
    /// Clients look at it. It belongs to the caller.
    /// </summary>
    /// <param name="mounts">The mounts as prepared.</param>
    /// <param name="inputs">The inputs as prepared.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async Task<IReadOnlyList<IImmutableRef?>> TakeFailedAsync(
        IReadOnlyList<Mount> mounts, IReadOnlyList<IImmutableRef?> inputs, CancellationToken cancellationToken)
    {
        var left = new IImmutableRef?[mounts.Count];
        for (var i = 0; i < left.Length; i++)
        {
            if (!_children.Remove(i, out var child))
            {
                left[i] = Input(mounts[i], inputs)?.Clone();
                continue;
            }
            left[i] = await child.CommitAsync(cancellationToken);
            _owned.Remove(child);
        }
        _outputs.Clear();
        return left;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var output in _outputs.Values)
            if (output.Mutable is { } mutable)
                await mutable.DisposeAsync();
        _outputs.Clear();
        for (var i = _owned.Count; i-- > 0;)
            await _owned[i].DisposeAsync();
        _owned.Clear();
    }

    private async Task AddAsync(
        ExecEnvironment environment, IEnumerable<string> sessionIds, Mount mount, int index, IReadOnlyList<IImmutableRef?> inputs, string cwd,
        string step, Dictionary<string, ICacheMountHandle> caches, CancellationToken cancellationToken)
    {
        var input = Input(mount, inputs);
        var isRoot = mount.Dest == "/";
        if (isRoot && mount.MountType != MountType.Bind)
            throw new InvalidOperationException($"invalid mount type {mount.MountType.ToString().ToUpperInvariant()} for /");
        var source = mount.MountType switch
        {
            MountType.Bind => await BindAsync(environment, mount, index, input, isRoot, step, cancellationToken),
            MountType.Cache => await CacheAsync(environment, mount, input, caches, step, cancellationToken),
            MountType.Tmpfs => new TmpfsMount(mount.TmpfsOpt?.Size ?? 0, mount.Readonly),
            MountType.Secret => await SecretAsync(environment, sessionIds, mount, cancellationToken),
            MountType.Ssh => await SshAsync(environment, sessionIds, mount, cancellationToken),
            _ => throw new InvalidOperationException($"mount type {(int)mount.MountType} not implemented"),
        };
        if (source is null)
            return;
        if (isRoot)
        {
            Root = source;
            return;
        }
        var destination = mount.Dest.StartsWith('/') ? mount.Dest : cwd.TrimEnd('/') + "/" + mount.Dest;
        _mounts.Add(new ContainerMount(Path.GetFullPath(destination), source, mount.Selector));
    }

    private static IImmutableRef? Input(Mount mount, IReadOnlyList<IImmutableRef?> inputs)
    {
        if (mount.Input < 0)
            return null;
        return mount.Input < inputs.Count ? inputs[(int)mount.Input] : throw new InvalidOperationException($"missing input {mount.Input}");
    }

    private async Task<IMountable> BindAsync(
        ExecEnvironment environment, Mount mount, int index, IImmutableRef? input, bool isRoot, string step, CancellationToken cancellationToken)
    {
        var hasOutput = mount.Output >= 0;
        if (mount.Readonly && input is not null && !isRoot)
        {
            if (hasOutput)
                _outputs.Add((int)mount.Output, new Output(null, input));
            return await input.MountAsync(readOnly: true, cancellationToken);
        }
        var description = hasOutput ? $"mount {mount.Dest} from exec {step}" : $"scratch mount {mount.Dest} from exec {step}";
        var child = await environment.Refs.NewAsync(input, new RefOptions { Description = description }, cancellationToken);
        _children.Add(index, child);
        if (hasOutput)
            _outputs.Add((int)mount.Output, new Output(child, null));
        else
            _owned.Add(child);
        if (isRoot)
            ReadOnlyRoot = mount.Readonly;
        return await child.MountAsync(readOnly: mount.Readonly && !isRoot, cancellationToken);
    }

    private async Task<IMountable> CacheAsync(
        ExecEnvironment environment, Mount mount, IImmutableRef? input, Dictionary<string, ICacheMountHandle> caches, string step,
        CancellationToken cancellationToken)
    {
        var id = mount.CacheOpt?.ID is { Length: > 0 } given ? given : mount.Dest;
        var sharing = mount.CacheOpt?.Sharing switch
        {
            CacheSharingOpt.Private => CacheSharing.Private,
            CacheSharingOpt.Locked => CacheSharing.Locked,
            _ => CacheSharing.Shared,
        };
        var key = id + ":" + input?.Id;
        if (!caches.TryGetValue(key, out var handle))
        {
            var description = $"cached mount {mount.Dest} from exec {step}" + (id == mount.Dest ? "" : $" with id \"{id}\"");
            handle = await environment.CacheMounts.AcquireAsync(id, input, sharing, description, cancellationToken);
            _owned.Add(handle);
            caches.Add(key, handle);
        }
        if (mount.Output >= 0)
            _outputs.Add((int)mount.Output, new Output(null, input));
        return await handle.Ref.MountAsync(mount.Readonly, cancellationToken);
    }

    private static async Task<IMountable?> SecretAsync(
        ExecEnvironment environment, IEnumerable<string> sessionIds, Mount mount, CancellationToken cancellationToken)
    {
        var options = mount.SecretOpt ?? throw new InvalidOperationException("invalid secret mount options");
        var id = options.ID.Length > 0 ? options.ID : throw new InvalidOperationException("secret ID missing from mount options");
        try
        {
            var secret = await environment.Sessions.GetSecretAsync(sessionIds, id, cancellationToken);
            return new SecretMount(secret, options.Uid, options.Gid, options.Mode, environment.TemporaryDirectory, environment.UserNamespace);
        }
        catch (SecretNotFoundException) when (options.Optional)
        {
            return null;
        }
    }

    private static async Task<IMountable?> SshAsync(
        ExecEnvironment environment, IEnumerable<string> sessionIds, Mount mount, CancellationToken cancellationToken)
    {
        var options = mount.SSHOpt ?? throw new InvalidOperationException("invalid ssh mount options");
        try
        {
            return new SshMount(await environment.Sessions.ForwardSshAgentAsync(
                sessionIds, options.ID.Length > 0 ? options.ID : "default", options.Uid, options.Gid, options.Mode, cancellationToken));
        }
        catch (SshAgentNotFoundException) when (options.Optional)
        {
            return null;
        }
    }

    private readonly record struct Output(IMutableRef? Mutable, IImmutableRef? Unchanged);
}
