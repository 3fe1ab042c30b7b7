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
    /// pass, and what does not pass soon, as any transfer is repeated.</summary>
    public static Task<T> RunAsync<T>(RegistryRepository repository, Func<Task<T>> read, CancellationToken cancellationToken)
    {
        var soon = 0;
        return repository.Retry.RunAsync(ReadAsync, log: null, cancellationToken);

        async Task<T> ReadAsync()
        {
            while (true)
            {
                try
                {
                    return await read().ConfigureAwait(false);
                }
                catch (RegistryStatusException e) when (e is { IsTransient: true, RetryAfter: null, StatusCode: not HttpStatusCode.TooManyRequests } && ++soon < MostReads)
                {
                    await repository.Retry.WaitAsync(ConditionalMerge.PauseAfter(soon + FirstPause), cancellationToken).ConfigureAwait(false);
                }
            }
        }
    }
}
