using System.Net;
using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>
/// A file system that a build will have at some point, and the settings for what runs on it next. Immutable:
/// each method answers a new state. Nothing happens until <see cref="MarshalAsync"/> turns the graph behind the
/// state into a definition.
/// </summary>
public partial class State
{
    private readonly MarshalOptions? _defaults;

    internal State(Output? output, ValueNode node, MarshalOptions? defaults = null)
    {
        Output = output;
        Node = node;
        _defaults = defaults;
    }

    /// <summary>The empty file system.</summary>
    public static State Scratch { get; } = new(null, ValueNode.Empty);

    /// <summary>Whether this is the empty file system. False for a deferred state, whatever it turns out to be.</summary>
    public bool IsScratch => Output is null;

    internal Output? Output { get; }

    internal ValueNode Node { get; }

    /// <summary>Changes the settings.</summary>
    public State With(Func<StateValues, StateValues> change) => new(Output, Node.Change(change));

    /// <summary>Sets the working directory; a relative path starts from the current one.</summary>
    public State Dir(string path) => With(values => values.WithDirectory(path));

    /// <summary>Sets an environment variable; one that exists moves to the end.</summary>
    public State AddEnv(string name, string value) => With(values => values.WithEnv(name, value));

    /// <summary>Sets the user of commands.</summary>
    public State User(string user) => With(values => values with { User = user });

    /// <summary>Sets the host name inside containers.</summary>
    public State Hostname(string name) => With(values => values with { Hostname = name });

    /// <summary>Sets the parent cgroup of containers.</summary>
    public State CgroupParent(string parent) => With(values => values with { CgroupParent = parent });

    /// <summary>Sets the network of containers.</summary>
    public State Network(NetMode mode) => With(values => values with { Network = mode });

    /// <summary>Sets the confinement of containers.</summary>
    public State Security(SecurityMode mode) => With(values => values with { Security = mode });

    /// <summary>Sets which exit codes count as success; 0 must be listed to be one of them.</summary>
    public State ValidExitCodes(params IEnumerable<int> codes) => With(values => values with { ValidExitCodes = [.. codes] });

    /// <summary>Adds an entry to <c>/etc/hosts</c>.</summary>
    public State AddExtraHost(string host, IPAddress address) =>
        With(values => values with { ExtraHosts = values.ExtraHosts.Add(new(host, address)) });

    /// <summary>Adds a resource limit.</summary>
    public State AddUlimit(string name, long soft, long hard) =>
        With(values => values with { Ulimits = values.Ulimits.Add(new(name, soft, hard)) });

    /// <summary>Sets the platform of later commands, normalised.</summary>
    public State WithPlatform(Platform platform) => With(values => values with { Platform = platform.Normalize() });

    /// <summary>Takes environment, working directory and platform from an image configuration (JSON). User,
    /// entry point, command and labels are not taken.</summary>
    /// <exception cref="LlbException">The JSON is no image configuration.</exception>
    public State WithImageConfig(ReadOnlySpan<byte> json)
    {
        var config = ImageConfigValues.Parse(json);
        return With(config.Apply);
    }

    /// <summary>This state's settings on another state's file system.</summary>
    public State WithOutput(State other) => WithOutput(other.Output);

    /// <summary>This state's file system with another state's settings.</summary>
    public State Reset(State other) => new(Output, WithPlatformOf(Output, other.Node.Change(values => values with { Directory = "/" })));

    /// <summary>A state that is computed while marshalling, from this one and what the definition is for.</summary>
    public State Defer(Func<State, MarshalOptions, CancellationToken, ValueTask<State>> resolve)
    {
        var deferred = new DeferredState(this, resolve);
        return new State(new DeferredOutput(deferred), new ValueNode(deferred));
    }

    /// <summary>Sets what <see cref="MarshalAsync"/> and <see cref="GetValuesAsync"/> use when they are given no
    /// options. Holds for exactly this state, not for states made from it.</summary>
    public State WithMarshalDefaults(MarshalOptions options) => new(Output, Node, options);

    /// <summary>The settings, if they are known without evaluating a deferred state.</summary>
    public bool TryGetValues([NotNullWhen(true)] out StateValues? values)
    {
        values = Node.Pending is null ? Node.Get(new DeferredStates(new MarshalOptions())) : null;
        return values is not null;
    }

    /// <summary>The settings.</summary>
    public async ValueTask<StateValues> GetValuesAsync(MarshalOptions? options = null, CancellationToken cancellationToken = default)
    {
        var deferred = new DeferredStates(options ?? _defaults ?? new MarshalOptions());
        if (Node.Pending is { } pending)
            await deferred.ResolveAsync(pending, cancellationToken).ConfigureAwait(false);
        return Node.Get(deferred);
    }

    /// <summary>The definition of everything this state needs; empty for scratch.</summary>
    /// <exception cref="LlbException">An operation of the graph is not valid.</exception>
    public Task<Definition> MarshalAsync(MarshalOptions? options = null, CancellationToken cancellationToken = default) =>
        Marshaller.MarshalAsync(this, options ?? _defaults ?? new MarshalOptions(), cancellationToken);

    /// <summary>Writes the definition of everything this state needs, as <c>buildctl build</c> reads it from its input.</summary>
    /// <exception cref="LlbException">An operation of the graph is not valid.</exception>
    public async Task WriteDefinitionAsync(Stream destination, MarshalOptions? options = null, CancellationToken cancellationToken = default)
    {
        var definition = await MarshalAsync(options, cancellationToken).ConfigureAwait(false);
        await destination.WriteAsync(definition.ToByteArray(), cancellationToken).ConfigureAwait(false);
    }

    internal State WithOutput(Output? output) => new(output, WithPlatformOf(output, Node));

    internal static State New(Output? output) => new(output, WithPlatformOf(output, ValueNode.Empty));

    private static ValueNode WithPlatformOf(Output? output, ValueNode node) =>
        output?.Platform is { } platform ? node.Change(values => values with { Platform = platform.Normalize() }) : node;
}
