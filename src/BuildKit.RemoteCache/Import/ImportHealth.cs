using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.Solver;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Import;

/// <summary>
/// What is known of an import's trustworthiness during one build. An import is believed until a layer of it cannot be had;
/// from then on each further layer is fetched when its record is loaded, where a failure still leads to another record or to
/// execution. One that does not answer at all is not asked again.
/// </summary>
/// <param name="name">What people know the import by.</param>
/// <param name="patience">How long it may stay silent.</param>
/// <param name="time">Clock of the limit.</param>
internal sealed class ImportHealth(string name, TimeSpan patience, TimeProvider time)
{
    // Times that an exchange is looked at within the patience.
    private const int Looks = 8;

    private readonly ConcurrentDictionary<Digest, bool> _lost = [];
    private readonly ConcurrentDictionary<Exception, bool> _told = new(ReferenceEqualityComparer.Instance);
    private volatile bool _isSilent;
    private int _silenceTold;

    /// <summary>What people know the import by.</summary>
    public string Name => name;

    /// <summary>Whether a layer proved lost.</summary>
    public bool IsDoubtful => !_lost.IsEmpty;

    /// <summary>Whether a layer need not be asked for.</summary>
    public bool IsLost(Digest digest) => _isSilent || _lost.ContainsKey(digest);

    /// <summary>Takes note of a layer that could not be had, and tells people once why steps execute that should have been in
    /// the cache. That the whole import is silent, or was given up (its backend then fails with one and the same error), is told
    /// for one layer only.</summary>
    public void Lose(Digest digest, Exception why, IProgressWriter? progress)
    {
        var reason = why is LayerLostException { InnerException: { } inner } ? inner : why;
        if (!_lost.TryAdd(digest, true) || progress is null || (_isSilent && Interlocked.Exchange(ref _silenceTold, 1) != 0) || !_told.TryAdd(reason, true))
            return;
        progress.Write(new ProgressWarning(
            default, 1, Encoding.UTF8.GetBytes($"layer {digest} of the cache {name} cannot be used, steps that need it are executed: {reason.Message}"),
            [], "", null, []));
    }

    /// <summary>Runs one exchange with the import. It may be silent for as long as its users have patience, not counting the
    /// time requests wait for their turn.</summary>
    /// <param name="isBusy">Whether they do at the moment.</param>
    /// <param name="exchange">What is done; it is given up when the time is over, whether it can be interrupted or not.</param>
    /// <param name="cancellationToken">Ends the exchange.</param>
    /// <exception cref="TimeoutException">No answer came; the import is not asked again.</exception>
    public async Task<T> WithinLimitAsync<T>(Func<bool> isBusy, Func<CancellationToken, Task<T>> exchange, CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var answer = exchange(ending.Token);
        try
        {
            for (var silent = 0; ;)
            {
                try
                {
                    return await answer.WaitAsync(patience / Looks, time, cancellationToken).ConfigureAwait(false);
                }
                catch (TimeoutException) when (!answer.IsFaulted)
                {
                    if (answer.IsCompleted)
                        continue;
                    // Looked at often: between two waits a request is on its way for a moment.
                    if (isBusy() || ++silent < Looks)
                        continue;
                    _isSilent = true;
                    throw new TimeoutException(string.Create(CultureInfo.InvariantCulture, $"no answer within {patience.TotalSeconds} s"));
                }
            }
        }
        finally
        {
            if (!answer.IsCompleted)
                await ending.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>The import's layers: what proved lost is not there, what fails is lost, and no read waits for ever.</summary>
    public IBlobProvider Guard(IBlobProvider provider, Func<bool> isBusy, IProgressWriter? progress) => new GuardedProvider(this, provider, isBusy, progress);

    private sealed class GuardedProvider(ImportHealth health, IBlobProvider provider, Func<bool> isBusy, IProgressWriter? progress) : IBlobProvider
    {
        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
        {
            if (health.IsLost(descriptor.Digest))
                throw new LayerLostException(descriptor.Digest, new RemoteCacheException($"it proved lost before in {health.Name}"));
            return new GuardedStream(this, descriptor.Digest, await ExchangeAsync(
                descriptor.Digest, token => provider.OpenAsync(descriptor, offset, token), cancellationToken).ConfigureAwait(false));
        }

        public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => health.IsLost(descriptor.Digest)
            ? null
            : await health.WithinLimitAsync(isBusy, token => provider.StatAsync(descriptor, token).AsTask(), cancellationToken).ConfigureAwait(false);

        public async Task<T> ExchangeAsync<T>(Digest digest, Func<CancellationToken, ValueTask<T>> exchange, CancellationToken cancellationToken)
        {
            try
            {
                return await health.WithinLimitAsync(isBusy, token => exchange(token).AsTask(), cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                health.Lose(digest, e, progress);
                throw new LayerLostException(digest, e);
            }
        }
    }

    private sealed class GuardedStream(GuardedProvider provider, Digest digest, Stream inner) : ForwardStream(FileAccess.Read)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            new(provider.ExchangeAsync(digest, token => inner.ReadAsync(buffer, token), cancellationToken));

        public override ValueTask DisposeAsync() => inner.DisposeAsync();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
