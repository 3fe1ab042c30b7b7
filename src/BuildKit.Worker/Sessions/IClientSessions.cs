using BuildKit.Protocol.Grpc;

namespace BuildKit.Worker.Sessions;

/// <summary>A client's open session.</summary>
/// <param name="Id">Session id.</param>
/// <param name="SharedKey">Key under which local sources of different sessions are the same.</param>
/// <param name="Channel">Calls to the services the client offers.</param>
/// <param name="Supports">Whether the client offers a method (<c>/package.Service/Method</c>).</param>
public sealed record ClientSession(string Id, string SharedKey, IGrpcChannel Channel, Func<string, bool> Supports);

/// <summary>The sessions of clients, by id (spec 01 §5.2).</summary>
public interface IClientSessions
{
    /// <summary>The session with an id, waiting up to 5 s for it to appear.</summary>
    /// <exception cref="RpcException"><c>no active session for X: context deadline exceeded</c>.</exception>
    Task<ClientSession> GetAsync(string id, CancellationToken cancellationToken);
}

/// <summary>Asking several sessions in turn.</summary>
public static class ClientSessionGroup
{
    /// <summary>The first success over the sessions in order; the last error when there is none.</summary>
    /// <exception cref="InvalidOperationException"><c>no active sessions</c>: the list was empty.</exception>
    public static async Task<T> AnyAsync<T>(
        this IClientSessions sessions, IEnumerable<string> ids, Func<ClientSession, Task<T>> call, CancellationToken cancellationToken)
    {
        Exception? last = null;
        foreach (var id in ids)
        {
            try
            {
                return await call(await sessions.GetAsync(id, cancellationToken));
            }
            catch (Exception exception) when (exception is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                last = exception;
            }
        }
        if (last is null)
            throw new InvalidOperationException("no active sessions");
        System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(last);
        throw last;
    }
}
