using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.FileOps;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Results;

namespace BuildKit.Worker.Ops;

/// <summary>
/// Changes files without running anything (a Dockerfile's <c>COPY</c>, <c>WORKDIR</c>). Actions form a graph; a
/// chain of them shares one layer, which is committed only where it is an output or used twice (spec 02 §6.1).
/// </summary>
public sealed class FileOperation(
    FileOp op, int inputCount, string name, IRefStore refs, IContentHasher hasher, string workerId, WorkerSlots slots, string temporaryDirectory) : IOperation
{
    private readonly FileOp _op = op;
    private readonly string _name = name;
    private readonly IRefStore _refs = refs;
    private readonly string _temporaryDirectory = temporaryDirectory;

    /// <inheritdoc/>
    public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken) =>
        Task.FromResult(new CacheMapResponse(FileDigest.Compute(_op, inputCount).ToCacheMap(hasher), Complete: true));

    /// <inheritdoc/>
    public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => slots.AcquireAsync(cancellationToken);

    /// <inheritdoc/>
    public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken)
    {
        Check();
        await using var run = new Run(this, [.. inputs.Select(WorkerResult.RefOf)]);
        var outputs = new IImmutableRef?[_op.Actions.Count(action => action.Output >= 0)];
        var taken = new List<IImmutableRef>();
        try
        {
            for (var i = 0; i < _op.Actions.Count; i++)
            {
                if (_op.Actions[i].Output < 0)
                    continue;
                var output = await run.CommittedAsync(i, cancellationToken);
                outputs[_op.Actions[i].Output] = output.Clone();
                taken.Add(outputs[_op.Actions[i].Output]!);
            }
        }
        catch
        {
            foreach (var reference in taken)
                await reference.DisposeAsync();
            throw;
        }
        return [.. outputs.Select(output => (IResult?)WorkerResult.From(workerId, output))];
    }

    private void Check()
    {
        var count = inputCount + _op.Actions.Count;
        var outputs = new HashSet<long>();
        foreach (var action in _op.Actions)
        {
            if (action.Input < -1 || action.Input >= count)
                throw new InvalidOperationException($"invalid input index {action.Input}, {count} provided");
            if (action.SecondaryInput < -1 || action.SecondaryInput >= count)
                throw new InvalidOperationException($"invalid secondary input index {action.SecondaryInput}, {count} provided");
            if (action.Output >= 0 && !outputs.Add(action.Output))
                throw new InvalidOperationException($"duplicate output {action.Output}");
        }
        if (outputs.Count == 0)
            throw new InvalidOperationException("no outputs specified");
        for (var i = 0L; i < outputs.Count; i++)
            if (!outputs.Contains(i))
                throw new InvalidOperationException($"missing output index {i}");
    }

    private sealed class Run(FileOperation operation, IReadOnlyList<IImmutableRef?> inputs) : IAsyncDisposable
    {
        private readonly Dictionary<int, IImmutableRef> _committed = [];
        private readonly Dictionary<int, IMutableRef> _open = [];
        private readonly Dictionary<long, int> _uses = Uses(operation._op, inputs.Count);
        private readonly HashSet<int> _running = [];

        /// <summary>The tree after an action, as an immutable record; borrowed.</summary>
        public async Task<IImmutableRef> CommittedAsync(int action, CancellationToken cancellationToken)
        {
            if (_committed.TryGetValue(action, out var done))
                return done;
            var mutable = await RunAsync(action, cancellationToken);
            var committed = await mutable.CommitAsync(cancellationToken);
            _open.Remove(action);
            _committed.Add(action, committed);
            return committed;
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var reference in _open.Values)
                await reference.DisposeAsync();
            foreach (var reference in _committed.Values)
                await reference.DisposeAsync();
        }

        private static Dictionary<long, int> Uses(FileOp op, int inputCount)
        {
            var uses = new Dictionary<long, int>();
            foreach (var action in op.Actions)
            {
                Count(action.Input);
                Count(action.SecondaryInput);
                foreach (var owner in Owners(action))
                    Count(owner);
            }
            return uses;

            void Count(long index)
            {
                if (index >= inputCount)
                    uses[index - inputCount] = uses.GetValueOrDefault(index - inputCount) + 1;
            }
        }

        private static IEnumerable<long> Owners(FileAction action)
        {
            var owner = action.ActionCase switch
            {
                FileAction.ActionOneofCase.Copy => action.Copy.Owner,
                FileAction.ActionOneofCase.Mkfile => action.Mkfile.Owner,
                FileAction.ActionOneofCase.Mkdir => action.Mkdir.Owner,
                FileAction.ActionOneofCase.Symlink => action.Symlink.Owner,
                _ => null,
            };
            if (owner?.User?.ByName is { } user)
                yield return user.Input;
            if (owner?.Group?.ByName is { } group)
                yield return group.Input;
        }

        /// <summary>The tree after an action, still writable.</summary>
        private async Task<IMutableRef> RunAsync(int index, CancellationToken cancellationToken)
        {
            if (!_running.Add(index))
                throw new InvalidOperationException($"loop from index {inputs.Count + index}");
            var action = operation._op.Actions[index];
            var mutable = await OpenTargetAsync(action.Input, cancellationToken);
            _open.Add(index, mutable);
            await using var mounts = new MountedRefs(operation._temporaryDirectory);
            var root = await mounts.PathOfAsync(mutable, readOnly: false, cancellationToken);
            var roots = new Dictionary<long, string> { [action.Input] = root };
            foreach (var owner in Owners(action).Append(action.ActionCase == FileAction.ActionOneofCase.Copy ? action.SecondaryInput : -1))
            {
                if (owner < -1)
                    throw new InvalidOperationException($"invalid user index: {owner}");
                if (!roots.ContainsKey(owner))
                    roots.Add(owner, await mounts.PathOfAsync(await SourceAsync(owner, cancellationToken), readOnly: true, cancellationToken));
            }
            try
            {
                await ApplyAsync(action, root, input => roots[input], cancellationToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                throw new FileActionException(index, exception);
            }
            _running.Remove(index);
            return mutable;
        }

        private async Task<IMutableRef> OpenTargetAsync(long input, CancellationToken cancellationToken)
        {
            var options = new RefOptions { Description = operation._name };
            if (input < inputs.Count)
                return await operation._refs.NewAsync(input < 0 ? null : inputs[(int)input], options, cancellationToken);
            var before = (int)(input - inputs.Count);
            var isShared = _uses.GetValueOrDefault(before) > 1 || operation._op.Actions[before].Output >= 0;
            if (isShared || _committed.ContainsKey(before))
                return await operation._refs.NewAsync(await CommittedAsync(before, cancellationToken), options, cancellationToken);
            var mutable = await RunAsync(before, cancellationToken);
            _open.Remove(before);
            return mutable;
        }

        private async Task<IImmutableRef?> SourceAsync(long input, CancellationToken cancellationToken) => input switch
        {
            < 0 => null,
            _ when input < inputs.Count => inputs[(int)input],
            _ => await CommittedAsync((int)(input - inputs.Count), cancellationToken),
        };

        private static async Task ApplyAsync(FileAction action, string root, Func<long, string> rootOf, CancellationToken cancellationToken)
        {
            switch (action.ActionCase)
            {
                case FileAction.ActionOneofCase.Mkdir:
                    FileOperations.Mkdir(root, action.Mkdir, FileOwner.Resolve(action.Mkdir.Owner, rootOf));
                    break;
                case FileAction.ActionOneofCase.Mkfile:
                    await FileOperations.MkfileAsync(root, action.Mkfile, FileOwner.Resolve(action.Mkfile.Owner, rootOf), cancellationToken);
                    break;
                case FileAction.ActionOneofCase.Symlink:
                    FileOperations.Symlink(root, action.Symlink, FileOwner.Resolve(action.Symlink.Owner, rootOf));
                    break;
                case FileAction.ActionOneofCase.Rm:
                    FileOperations.Remove(root, action.Rm);
                    break;
                case FileAction.ActionOneofCase.Copy:
                    await FileOperations.CopyAsync(root, rootOf(action.SecondaryInput), action.Copy, FileOwner.Resolve(action.Copy.Owner, rootOf), cancellationToken);
                    break;
                default:
                    throw new InvalidOperationException("invalid action type");
            }
        }
    }
}

/// <summary>An action of a file operation failed; the message is the cause's.</summary>
public sealed class FileActionException(int index, Exception cause) : Exception(cause.Message, cause)
{
    /// <summary>Position of the action in the operation.</summary>
    public int Index { get; } = index;
}
