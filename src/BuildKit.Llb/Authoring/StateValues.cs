using System.Collections.Immutable;
using System.Net;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>The settings a state carries for the commands run on it (spec 02 §11.3).</summary>
public sealed record StateValues
{
    /// <summary>Working directory.</summary>
    public string Directory { get; init; } = "/";

    /// <summary>Environment, ordered by last assignment.</summary>
    public ImmutableList<KeyValuePair<string, string>> Environment { get; init; } = [];

    /// <summary>Arguments of the command, null until set.</summary>
    public ImmutableArray<string>? Arguments { get; init; }

    /// <summary>User, as <c>name[:group]</c> or ids.</summary>
    public string User { get; init; } = "";

    /// <summary>Host name inside containers.</summary>
    public string Hostname { get; init; } = "";

    /// <summary>Parent cgroup of containers.</summary>
    public string CgroupParent { get; init; } = "";

    /// <summary>Network of containers.</summary>
    public NetMode Network { get; init; }

    /// <summary>Confinement of containers.</summary>
    public SecurityMode Security { get; init; }

    /// <summary>Extra entries of <c>/etc/hosts</c>.</summary>
    public ImmutableArray<KeyValuePair<string, IPAddress>> ExtraHosts { get; init; } = [];

    /// <summary>Resource limits of processes.</summary>
    public ImmutableArray<UlimitSetting> Ulimits { get; init; } = [];

    /// <summary>Exit codes that count as success; null means only 0.</summary>
    public ImmutableArray<int>? ValidExitCodes { get; init; }

    /// <summary>Platform of commands, normalised; null leaves it to the marshaller.</summary>
    public Platform? Platform { get; init; }

    /// <summary>The value of an environment variable, null when it is not set.</summary>
    public string? GetEnv(string name)
    {
        foreach (var (key, value) in Environment)
        {
            if (key == name)
                return value;
        }

        return null;
    }

    /// <summary>The environment as <c>NAME=value</c> lines.</summary>
    public IEnumerable<string> EnvironmentLines => Environment.Select(entry => entry.Key + "=" + entry.Value);

    /// <summary>The same with a variable set; one that exists moves to the end.</summary>
    public StateValues WithEnv(string name, string value) => this with
    {
        Environment = Environment.RemoveAll(entry => entry.Key == name).Add(new(name, value)),
    };

    /// <summary>The same in another directory; a relative one starts from the current one.</summary>
    public StateValues WithDirectory(string path) => this with
    {
        Directory = SlashPath.IsAbsolute(path) ? path : SlashPath.Join(Directory.Length == 0 ? "/" : Directory, path),
    };
}

/// <summary>A resource limit of a process.</summary>
/// <param name="Name">Name of the resource, for example <c>nofile</c>.</param>
/// <param name="Soft">Soft limit; -1 is unlimited.</param>
/// <param name="Hard">Hard limit; -1 is unlimited.</param>
public readonly record struct UlimitSetting(string Name, long Soft, long Hard);

/// <summary>Values that are known, or will be once a deferred state is resolved.</summary>
internal sealed class ValueNode
{
    private readonly StateValues? _known;
    private readonly ImmutableList<Func<StateValues, StateValues>> _changes = [];

    public ValueNode(StateValues known) => _known = known;

    public ValueNode(DeferredState pending) => Pending = pending;

    private ValueNode(DeferredState pending, ImmutableList<Func<StateValues, StateValues>> changes)
    {
        Pending = pending;
        _changes = changes;
    }

    public static ValueNode Empty { get; } = new(new StateValues());

    public DeferredState? Pending { get; }

    public ValueNode Change(Func<StateValues, StateValues> change) =>
        _known is not null ? new ValueNode(change(_known)) : new ValueNode(Pending!, _changes.Add(change));

    public StateValues Get(DeferredStates resolved)
    {
        if (_known is not null)
            return _known;
        var values = resolved.Get(Pending!).Node.Get(resolved);
        foreach (var change in _changes)
            values = change(values);
        return values;
    }
}

/// <summary>A state that is computed when it is needed, for example once an image's configuration is known.</summary>
internal sealed class DeferredState(State previous, Func<State, MarshalOptions, CancellationToken, ValueTask<State>> resolve)
{
    public ValueTask<State> ResolveAsync(MarshalOptions options, CancellationToken cancellationToken) =>
        resolve(previous, options, cancellationToken);
}

/// <summary>The deferred states of one evaluation and what they turned out to be.</summary>
internal sealed class DeferredStates(MarshalOptions options)
{
    private readonly Dictionary<DeferredState, State> _states = [];

    public State Get(DeferredState deferred) => _states[deferred];

    /// <summary>Resolves a deferred state, and what it in turn waits for; answers the state at the end.</summary>
    public async ValueTask<State> ResolveAsync(DeferredState deferred, CancellationToken cancellationToken)
    {
        if (_states.TryGetValue(deferred, out var known))
            return known;
        var state = await deferred.ResolveAsync(options, cancellationToken).ConfigureAwait(false);
        _states[deferred] = state;
        if (state.Node.Pending is { } next)
            await ResolveAsync(next, cancellationToken).ConfigureAwait(false);
        if (state.Output is DeferredOutput output)
            await ResolveAsync(output.State, cancellationToken).ConfigureAwait(false);
        return state;
    }
}
