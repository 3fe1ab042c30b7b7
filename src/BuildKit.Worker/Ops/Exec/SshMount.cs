using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>A socket that leads to the client's ssh agent; closed with the step's other mounts.</summary>
public sealed class SshMount(IForwardedSocket socket) : IMountable
{
    /// <inheritdoc/>
    public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) =>
        Task.FromResult(new MountLease([new MountSpec("bind", socket.Path, ["rbind"])], socket.DisposeAsync));
}
