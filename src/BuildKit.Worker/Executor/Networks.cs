namespace BuildKit.Worker.Executor;

/// <summary>Gives containers their network.</summary>
public interface INetworkProvider
{
    /// <summary>Whether containers see the host's network.</summary>
    bool IsHost { get; }

    /// <summary>A network for one container; <paramref name="hostname"/> is empty when the step gives none.</summary>
    ValueTask<INetworkLease> AcquireAsync(string hostname, CancellationToken cancellationToken);
}

/// <summary>One container's network, released by disposing.</summary>
public interface INetworkLease : IAsyncDisposable
{
    /// <summary>Namespace to join; null where the runtime makes a new one or the host's is used.</summary>
    string? NamespacePath { get; }
}

/// <summary>Shares the host's network.</summary>
public sealed class HostNetwork : INetworkProvider
{
    /// <inheritdoc/>
    public bool IsHost => true;

    /// <inheritdoc/>
    public ValueTask<INetworkLease> AcquireAsync(string hostname, CancellationToken cancellationToken) => new(NoLease.Instance);
}

/// <summary>A new namespace with loopback only, made by the runtime.</summary>
public sealed class NoNetwork : INetworkProvider
{
    /// <inheritdoc/>
    public bool IsHost => false;

    /// <inheritdoc/>
    public ValueTask<INetworkLease> AcquireAsync(string hostname, CancellationToken cancellationToken) => new(NoLease.Instance);
}

internal sealed class NoLease : INetworkLease
{
    public static NoLease Instance { get; } = new();

    public string? NamespacePath => null;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
