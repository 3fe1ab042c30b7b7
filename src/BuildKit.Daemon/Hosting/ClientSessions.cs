using BuildKit.Session.Transport;
using BuildKit.Worker.Sessions;

namespace BuildKit.Daemon.Hosting;

/// <summary>The open sessions as workers see them.</summary>
internal sealed class ClientSessions(SessionManager sessions) : IClientSessions
{
    /// <inheritdoc/>
    public async Task<ClientSession> GetAsync(string id, CancellationToken cancellationToken)
    {
        var caller = await sessions.GetAsync(id, SessionManager.DefaultWait, cancellationToken);
        return new ClientSession(caller.Id, caller.SharedKey, caller.Channel, caller.Supports);
    }
}
