using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Session.Content;
using BuildKit.Solver;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends;

/// <summary>Where one cache export goes. Made when the build starts; nothing is sent before <see cref="WriteAsync"/>.</summary>
public interface ICacheExportBackend
{
    /// <summary>Name of the export's vertex, for example <c>exporting cache to registry</c>.</summary>
    string VertexName { get; }

    /// <summary>Compression of newly made layers.</summary>
    CompressionOptions Compression { get; }

    /// <summary>Replaces what the target holds, or joins it when the attributes say so. Returns what clients are told (keys start with <c>cache.</c>).</summary>
    Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken);
}

/// <summary>Where one cache import comes from.</summary>
public interface ICacheImportBackend
{
    /// <summary>Fetches and parses the cache; layers are not fetched. One entry per independent graph.</summary>
    Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken);

    /// <summary>The layers come from the client's session, which ends with the build: they are fetched when a hit is loaded.</summary>
    bool IsSessionBound { get; }

    /// <summary>Image reference lazy layers belong to; empty for none.</summary>
    string ImageRef { get; }

    /// <summary>Contents of cache mounts that came with the cache; known once it was read.</summary>
    IReadOnlyList<CacheMountLayer> Mounts => [];

    /// <summary>Requests wait for their turn on this side at the moment: silence says nothing of the store.</summary>
    bool IsBusy => false;
}

/// <summary>A content store of the client, reached through its session.</summary>
public interface IClientContentStore
{
    /// <summary>Size of a blob in bytes, or null when it is not there.</summary>
    Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken);

    /// <summary>Opens a blob at an offset; the bytes are not verified.</summary>
    Task<Stream> OpenReadAsync(Digest digest, long offset, CancellationToken cancellationToken);

    /// <summary>Writes a blob; one that is there is success.</summary>
    Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken);
}

/// <summary>The store behind a session's content service.</summary>
public sealed class SessionContentStore(ContentClient client) : IClientContentStore
{
    /// <inheritdoc/>
    public Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken) => client.GetSizeAsync(digest, cancellationToken);

    /// <inheritdoc/>
    public Task<Stream> OpenReadAsync(Digest digest, long offset, CancellationToken cancellationToken) =>
        client.OpenReadAsync(digest, offset, 0, cancellationToken);

    /// <inheritdoc/>
    public Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken) =>
        client.WriteAsync(descriptor, content, cancellationToken);
}

/// <summary>What backends may use of the daemon and of the build's session.</summary>
public sealed record CacheBackendContext
{
    /// <summary>The daemon's registry client.</summary>
    public required RegistryClient Registry { get; init; }

    /// <summary>Credentials of the build's session.</summary>
    public required IRegistryCredentials Credentials { get; init; }

    /// <summary>Opens a content store of the client by its name (<see cref="ContentStores"/>); null when there is no session.
    /// The daemon waits up to 5 seconds for one.</summary>
    public required Func<string, CancellationToken, Task<IClientContentStore?>> OpenClientStore { get; init; }

    /// <summary>Clock of progress records and retries.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Connections to object stores and to services that give credentials for them; shared by all builds.</summary>
    public HttpMessageInvoker Http { get; init; } = StoreConnection.CreateInvoker();

    /// <summary>Order among exports that join the same cache.</summary>
    public MergeTurns Turns { get; init; } = new();

    /// <summary>How long a failed request to an object store waits before its second attempt; null for each store's own.</summary>
    public TimeSpan? FirstRetry { get; init; }

    /// <summary>Variables of the daemon's environment; null for one that is not set.</summary>
    public Func<string, string?> Environment { get; init; } = System.Environment.GetEnvironmentVariable;
}

/// <summary>A cache export or import cannot be used as configured, or failed; the message is what clients show.</summary>
public sealed class RemoteCacheException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>The message says what was being done; nothing is put around it.</summary>
    internal bool IsComplete { get; init; }

    /// <summary>Runs a part of an export; its errors say what was being done: <c>WHAT: CAUSE</c>.</summary>
    internal static async Task<bool> WrapAsync(string what, Func<Task> part)
    {
        try
        {
            await part().ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is not (OperationCanceledException or RemoteCacheException { IsComplete: true }))
        {
            throw new RemoteCacheException($"{what}: {e.Message}", e);
        }
    }
}

/// <summary>Reports the parts of an export or import.</summary>
public sealed class CacheProgress(IProgressWriter writer, TimeProvider time)
{
    /// <summary>Where it is reported.</summary>
    public IProgressWriter Writer => writer;

    /// <summary>Clock of the records.</summary>
    public TimeProvider Time => time;

    /// <summary>Runs a part between its start and completion records.</summary>
    public async Task<T> RunAsync<T>(string name, Func<Task<T>> part)
    {
        var started = time.GetUtcNow();
        writer.Write(new ProgressStatus(name, default, "", 0, 0, started, started, null));
        try
        {
            return await part().ConfigureAwait(false);
        }
        finally
        {
            var now = time.GetUtcNow();
            writer.Write(new ProgressStatus(name, default, "", 0, 0, now, started, now));
        }
    }

    /// <summary>Runs a part that moves so many bytes; it reports those moved so far.</summary>
    public async Task<T> RunAsync<T>(string name, long total, Func<IProgress<long>, Task<T>> part)
    {
        var bytes = new Bytes(this, name, total, time.GetUtcNow());
        bytes.Write(0, completed: null);
        try
        {
            return await part(bytes).ConfigureAwait(false);
        }
        finally
        {
            bytes.Write(bytes.Current, time.GetUtcNow());
        }
    }

    /// <summary>Warns of something that did not fail the part.</summary>
    public void Warn(string text) => writer.Write(ProgressWarning.Of(text));

    /// <summary>Reports something that is over at once.</summary>
    public void Note(string name)
    {
        var now = time.GetUtcNow();
        writer.Write(new ProgressStatus(name, default, "", 0, 0, now, now, now));
    }

    /// <summary>Writes to the vertex' log.</summary>
    public void Log(string text) => writer.Write(new ProgressLog(default, 2, System.Text.Encoding.UTF8.GetBytes(text), time.GetUtcNow()));

    /// <summary>Bytes moved so far, reported a few times a second.</summary>
    private sealed class Bytes(CacheProgress progress, string name, long total, DateTimeOffset started) : IProgress<long>
    {
        private static readonly TimeSpan Often = TimeSpan.FromMilliseconds(150);

        private readonly Lock _gate = new();
        private readonly DateTimeOffset _started = started;
        private DateTimeOffset _reported = started;

        public long Current { get; private set; }

        public void Report(long value)
        {
            var now = progress.Time.GetUtcNow();
            lock (_gate)
            {
                Current = value;
                if (now - _reported < Often)
                    return;
                _reported = now;
            }
            Write(value, completed: null);
        }

        public void Write(long current, DateTimeOffset? completed) =>
            progress.Writer.Write(new ProgressStatus(name, default, "", current, total, completed ?? progress.Time.GetUtcNow(), _started, completed));
    }
}
