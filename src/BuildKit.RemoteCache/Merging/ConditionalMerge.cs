using BuildKit.RemoteCache.Config;

namespace BuildKit.RemoteCache.Merging;

/// <summary>A config as it lies in a store.</summary>
/// <param name="Cache">What it says.</param>
/// <param name="Bytes">Its bytes.</param>
/// <param name="Version">The store's name of this state of it.</param>
internal sealed record StoredConfig(MarshalledCache Cache, byte[] Bytes, string Version);

/// <summary>Joins an export with a config in a store that replaces an object only if it still is what was read. Of several
/// writers one succeeds; the others read again and join what it wrote, so nothing is lost.</summary>
internal static class ConditionalMerge
{
    private const int MostAttempts = 100;
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    /// <summary>Joins and writes until no other writer came between.</summary>
    /// <param name="what">The config's name in errors.</param>
    /// <param name="join">Makes the bytes to write from what is there; null leaves it as it is.</param>
    /// <param name="read">Reads what is there; null when nothing is.</param>
    /// <param name="tryWrite">Writes if the version (null: nothing) still is the one that was read; false when it is not.</param>
    /// <param name="time">Clock of the pauses.</param>
    /// <param name="cancellationToken">Ends the attempts.</param>
    public static async Task RunAsync(
        string what, Func<StoredConfig?, Task<byte[]?>> join, Func<Task<StoredConfig?>> read, Func<byte[], string?, Task<bool>> tryWrite,
        TimeProvider time, CancellationToken cancellationToken)
    {
        for (var attempt = 0; attempt < MostAttempts; attempt++)
        {
            var there = await read().ConfigureAwait(false);
            var bytes = await join(there).ConfigureAwait(false);
            if (bytes is null || (there is not null && bytes.AsSpan().SequenceEqual(there.Bytes)) || await tryWrite(bytes, there?.Version).ConfigureAwait(false))
                return;
            await PauseAsync(attempt, time, cancellationToken).ConfigureAwait(false);
        }
        throw new Backends.RemoteCacheException($"{what} was changed by others {MostAttempts} times while this export tried to join it");
    }

    /// <summary>Waits before the next attempt, by chance, longer from one to the next: writers that met once shall not meet again.</summary>
    public static Task PauseAsync(int attempt, TimeProvider time, CancellationToken cancellationToken) => Task.Delay(PauseAfter(attempt), time, cancellationToken);

    /// <summary>How long to wait before the next attempt.</summary>
    public static TimeSpan PauseAfter(int attempt) =>
        TimeSpan.FromMilliseconds(Random.Shared.NextDouble() * Math.Min(LongestPause.TotalMilliseconds, FirstPause.TotalMilliseconds * Math.Pow(2, attempt)));
}
