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
                    Directory.CreateDirectory(socketDirectory);
                    return new Socket(SshForwarder.Start(session.Channel, id, socketDirectory, uid, gid, mode, CancellationToken.None));
                },
                cancellationToken);
        }
        catch (RpcException exception) when (exception.Code is StatusCode.NotFound or StatusCode.Unimplemented)
        {
            throw new SshAgentNotFoundException(id);
        }
    }

    private sealed class Socket(SshForwarder forwarder) : IForwardedSocket
    {
        public string Path => forwarder.SocketPath;

        public ValueTask DisposeAsync() => forwarder.DisposeAsync();
    }
}
