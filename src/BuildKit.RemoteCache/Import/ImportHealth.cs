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
    private readonly ConcurrentDictionary<Digest, bool> _lost = [];
    private volatile bool _isSilent;

    /// <summary>What people know the import by.</summary>
    public string Name => name;

    /// <summary>Whether a layer proved lost.</summary>
    public bool IsDoubtful => !_lost.IsEmpty;

    /// <summary>Whether a layer need not be asked for.</summary>
    public bool IsLost(Digest digest) => _isSilent || _lost.ContainsKey(digest);

    /// <summary>Takes note of a layer that could not be had, and tells people once why steps execute that should have been in
    /// the cache.</summary>
    public void Lose(Digest digest, Exception why, IProgressWriter? progress)
    {
        for (Exception? e = why; e is not null; e = e.InnerException)
            _isSilent |= e is TimeoutException;
        if (!_lost.TryAdd(digest, true) || progress is null)
            return;
        var reason = why is LayerLostException { InnerException: { } inner } ? inner : why;
        progress.Write(new ProgressWarning(
            default, 1, Encoding.UTF8.GetBytes($"layer {digest} of the cache {name} cannot be used, steps that need it are executed: {reason.Message}"),
            [], "", null, []));
    }

    /// <summary>Runs one exchange with the import, at most for the time it may stay silent.</summary>
    /// <exception cref="TimeoutException">No answer came.</exception>
    public async Task<T> WithinLimitAsync<T>(Func<CancellationToken, Task<T>> exchange, CancellationToken cancellationToken)
    {
        using var limit = new CancellationTokenSource(patience, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        try
        {
            // Not everything below can be interrupted: who waits goes on, whatever becomes of the exchange.
            return await exchange(either.Token).WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (Exception) when (limit.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException(string.Create(CultureInfo.InvariantCulture, $"no answer within {patience.TotalSeconds} s"));
        }
    }

    /// <summary>The import's layers: what proved lost is not there, what fails is lost, and no read waits for ever.</summary>
    public IBlobProvider Guard(IBlobProvider provider, IProgressWriter? progress) => new GuardedProvider(this, provider, progress);

    private sealed class GuardedProvider(ImportHealth health, IBlobProvider provider, IProgressWriter? progress) : IBlobProvider
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
            : await health.WithinLimitAsync(token => provider.StatAsync(descriptor, token).AsTask(), cancellationToken).ConfigureAwait(false);

        public async Task<T> ExchangeAsync<T>(Digest digest, Func<CancellationToken, ValueTask<T>> exchange, CancellationToken cancellationToken)
        {
            try
            {
                return await health.WithinLimitAsync(token => exchange(token).AsTask(), cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                health.Lose(digest, e, progress);
                throw new LayerLostException(digest, e);
            }
        }
    }

    private sealed class GuardedStream(GuardedProvider provider, Digest digest, Stream inner) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            new(provider.ExchangeAsync(digest, token => inner.ReadAsync(buffer, token), cancellationToken));

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("layers of a cache are read asynchronously");

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Flush()
        {
        }

        public override ValueTask DisposeAsync() => inner.DisposeAsync();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
