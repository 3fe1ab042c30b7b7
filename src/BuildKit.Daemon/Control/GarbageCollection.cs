using BuildKit.Daemon.Explaining;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Control;

/// <summary>
/// Frees disk: on request, and by the configured rules shortly after the start and after each build, at most once
/// a minute (spec 06 §5.3). Keys whose results are gone are dropped with them.
/// </summary>
internal sealed class GarbageCollection(
    IRefStore refs, LocalCacheManager keys, IReadOnlyList<PruneOptions> rules, BuildLog builds, TimeProvider time, ILogger<GarbageCollection> logger) : IAsyncDisposable
{
    private static readonly TimeSpan Delay = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Pause = TimeSpan.FromMinutes(1);
    private readonly SemaphoreSlim _wanted = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private Task _loop = Task.CompletedTask;

    /// <summary>Starts collecting by the rules, after keys whose results did not survive the last daemon were dropped.</summary>
    public void Start()
    {
        _loop = LoopAsync();
        Request();
    }

    /// <summary>Asks for a collection soon.</summary>
    public void Request()
    {
        if (_wanted.CurrentCount == 0)
        {
            try
            {
                _wanted.Release();
            }
            catch (SemaphoreFullException)
            {
                // Asked for twice at the same moment: once is enough.
            }
        }
    }

    /// <summary>Prunes by rules, telling each record that went.</summary>
    public async Task PruneAsync(IReadOnlyList<PruneOptions> options, Action<UsageRecord> onPruned, CancellationToken cancellationToken)
    {
        var count = 0;
        await refs.PruneAsync(
            options,
            record =>
            {
                count++;
                builds.Pruned(record, RuleOf(record.PrunedBy));
                onPruned(record);
            },
            cancellationToken);
        if (count > 0)
            keys.ReleaseUnreferenced(cancellationToken);
    }

    /// <summary>Number of one of the configured rules, from 1; 0 for what a client asked for.</summary>
    private int RuleOf(PruneOptions? policy)
    {
        for (var i = 0; i < rules.Count; i++)
        {
            if (ReferenceEquals(rules[i], policy))
                return i + 1;
        }
        return 0;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
    }

    private async Task LoopAsync()
    {
        try
        {
            await Task.Delay(Delay, time, _stop.Token);
            keys.ReleaseUnreferenced(_stop.Token);
            while (rules.Count > 0)
            {
                await _wanted.WaitAsync(_stop.Token);
                await Task.Delay(Delay, time, _stop.Token);
                try
                {
                    await PruneAsync(rules, _ => { }, _stop.Token);
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    logger.LogError(exception, "gc error: {Message}", exception.Message);
                }
                await Task.Delay(Pause, time, _stop.Token);
            }
        }
        catch (OperationCanceledException)
        {
            // The daemon stops.
        }
    }
}
