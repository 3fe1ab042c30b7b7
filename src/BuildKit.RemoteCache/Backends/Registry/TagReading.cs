using System.Net;
using BuildKit.Registry;
using BuildKit.RemoteCache.Merging;

namespace BuildKit.RemoteCache.Backends.Registry;

/// <summary>Reads tags and manifests that others may be writing. Registries that keep them in files answer 500 to who reads one while
/// it is written: a moment later it is there.</summary>
internal static class TagReading
{
    private const int MostReads = 5;
    private const int FirstPause = 2;

    /// <summary>Repeats a request to which the registry answered with an error of its own, after short pauses; whatever else may
    /// pass, as any transfer is repeated.</summary>
    public static Task<T> RunAsync<T>(RegistryRepository repository, Func<Task<T>> read, CancellationToken cancellationToken) =>
        repository.Retry.RunAsync(() => SoonAsync(repository, read, cancellationToken), log: null, cancellationToken);

    private static async Task<T> SoonAsync<T>(RegistryRepository repository, Func<Task<T>> read, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await read().ConfigureAwait(false);
            }
            catch (RegistryStatusException e) when (e is { IsTransient: true, RetryAfter: null, StatusCode: not HttpStatusCode.TooManyRequests } && attempt < MostReads)
            {
                await ConditionalMerge.PauseAsync(attempt + FirstPause, repository.Time, cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
