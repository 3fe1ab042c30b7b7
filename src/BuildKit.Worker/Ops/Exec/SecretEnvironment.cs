using System.Text;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>Secrets as environment variables of a process.</summary>
public static class SecretEnvironment
{
    /// <summary>Adds a variable for each secret; an optional one that no client has is empty.</summary>
    /// <param name="entries">The environment.</param>
    /// <param name="secrets">The secrets wanted.</param>
    /// <param name="sessions">Asks the clients.</param>
    /// <param name="sessionIds">The clients asked, in order.</param>
    /// <param name="cancellationToken">Ends the asking.</param>
    /// <exception cref="SecretNotFoundException">No client has a secret that is required.</exception>
    public static async Task AddAsync(
        List<string> entries, IEnumerable<SecretEnv> secrets, IStepSessions sessions, IEnumerable<string> sessionIds, CancellationToken cancellationToken)
    {
        foreach (var secret in secrets)
        {
            if (secret.ID.Length == 0)
                throw new InvalidOperationException("secret ID missing from env options");
            try
            {
                var value = await sessions.GetSecretAsync(sessionIds, secret.ID, cancellationToken);
                entries.Add(secret.Name + "=" + Encoding.UTF8.GetString(value));
            }
            catch (SecretNotFoundException) when (secret.Optional)
            {
                entries.Add(secret.Name + "=");
            }
        }
    }
}
