using BuildKit.Protocol.Grpc;
using BuildKit.Session.Secrets;
using BuildKit.Session.Ssh;

namespace BuildKit.Worker.Sessions;

/// <summary>Secrets and ssh agents from the clients' sessions.</summary>
public sealed class StepSessions(IClientSessions sessions, string socketDirectory) : IStepSessions
{
    /// <inheritdoc/>
    public async Task<byte[]> GetSecretAsync(IEnumerable<string> sessionIds, string id, CancellationToken cancellationToken)
    {
        try
        {
            return await sessions.AnyAsync(
                sessionIds,
                async session => await SecretsClient.GetAsync(session.Channel, id, cancellationToken) ?? throw new SecretNotFoundException(id),
                cancellationToken);
        }
        catch (RpcException exception) when (exception.Code is StatusCode.NotFound or StatusCode.Unimplemented)
        {
            throw new SecretNotFoundException(id);
        }
    }

    /// <inheritdoc/>
    public async Task<IForwardedSocket> ForwardSshAgentAsync(
        IEnumerable<string> sessionIds, string id, uint uid, uint gid, uint mode, CancellationToken cancellationToken)
    {
        try
        {
            return await sessions.AnyAsync(
                sessionIds,
                async session =>
                {
                    await SshForwarder.CheckAsync(session.Channel, id, cancellationToken);
                    // Several steps may use an agent at once: each socket is in a directory of its own.
                    Directory.CreateDirectory(socketDirectory);
                    var directory = Path.Combine(socketDirectory, Path.GetRandomFileName());
                    Directory.CreateDirectory(directory);
                    return new Socket(SshForwarder.Start(session.Channel, id, directory, uid, gid, mode, CancellationToken.None), directory);
                },
                cancellationToken);
        }
        catch (RpcException exception) when (exception.Code is StatusCode.NotFound or StatusCode.Unimplemented)
        {
            throw new SshAgentNotFoundException(id);
        }
    }

    private sealed class Socket(SshForwarder forwarder, string directory) : IForwardedSocket
    {
        public string Path => forwarder.SocketPath;

        public async ValueTask DisposeAsync()
        {
            await forwarder.DisposeAsync();
            Directory.Delete(directory);
        }
    }
}
