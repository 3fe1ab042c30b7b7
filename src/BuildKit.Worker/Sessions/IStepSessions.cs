namespace BuildKit.Worker.Sessions;

/// <summary>What steps ask of the clients whose builds wait for them. Sessions are tried in order; the first
/// that answers wins (spec 01 §5.2).</summary>
public interface IStepSessions
{
    /// <summary>A secret's bytes.</summary>
    /// <exception cref="SecretNotFoundException">No session has it.</exception>
    Task<byte[]> GetSecretAsync(IEnumerable<string> sessionIds, string id, CancellationToken cancellationToken);

    /// <summary>A unix socket that forwards to a client's ssh agent until disposed.</summary>
    /// <exception cref="SshAgentNotFoundException">No session forwards that agent.</exception>
    Task<IForwardedSocket> ForwardSshAgentAsync(
        IEnumerable<string> sessionIds, string id, uint uid, uint gid, uint mode, CancellationToken cancellationToken);
}

/// <summary>A listening socket.</summary>
public interface IForwardedSocket : IAsyncDisposable
{
    /// <summary>Path of the socket.</summary>
    string Path { get; }
}

/// <summary>No client gives that secret.</summary>
public sealed class SecretNotFoundException(string id) : Exception($"secret {id}: not found");

/// <summary>No client forwards that agent.</summary>
public sealed class SshAgentNotFoundException(string id) : Exception($"no SSH key \"{id}\" forwarded from the client");
