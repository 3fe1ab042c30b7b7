using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Health;
using BuildKit.Protocol.Services;

namespace BuildKit.Session.Transport;

/// <summary>The daemon's end of one client's session: what the client serves and the channel to call it.</summary>
public sealed class SessionCaller
{
    private static readonly TimeSpan HealthInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan MinHealthTimeout = TimeSpan.FromSeconds(30);

    private readonly HashSet<string> _methods;

    internal SessionCaller(string id, string sharedKey, IEnumerable<string> methods, IGrpcChannel channel)
    {
        Id = id;
        SharedKey = sharedKey;
        Channel = channel;
        _methods = new HashSet<string>(methods, StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>The session's ID.</summary>
    public string Id { get; }

    /// <summary>Part of the key under which local sources are kept; often empty.</summary>
    public string SharedKey { get; }

    /// <summary>Full names of the methods the client serves; compared without regard to case.</summary>
    public IReadOnlySet<string> Methods => _methods;

    /// <summary>Calls into the client. Every message must stay below 4 MiB.</summary>
    public IGrpcChannel Channel { get; }

    /// <summary>Completes when the session is gone.</summary>
    public Task Closed => Channel.Closed;

    /// <summary>Whether the client serves a method, given as <c>/package.Service/Method</c>.</summary>
    public bool Supports(string fullName) => _methods.Contains(fullName);

    /// <summary>Checks the client's health every 5 s until the session ends (spec 01 §5.3). Returns when a
    /// second check failed before five in a row succeeded.</summary>
    internal async Task WatchHealthAsync(TimeProvider time, CancellationToken cancellationToken)
    {
        var timeout = MinHealthTimeout;
        var failedBefore = false;
        var successes = 0;
        while (true)
        {
            await Task.Delay(HealthInterval, time, cancellationToken);
            var started = time.GetTimestamp();
            try
            {
                await Channel.UnaryAsync(
                    HealthMethods.Check, new HealthCheckRequest(), new CallOptions(Timeout: timeout), cancellationToken);
                if (failedBefore && ++successes >= 5)
                    failedBefore = false;
            }
            catch (RpcException)
            {
                if (failedBefore || Channel.Closed.IsCompleted)
                    return;
                failedBefore = true;
                successes = 0;
            }

            var next = time.GetElapsedTime(started) * 1.5;
            timeout = next > MinHealthTimeout ? next : MinHealthTimeout;
        }
    }
}
