using System.Globalization;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>An index that is replaced, in a service whose entries never change: each writing takes the next number, readers take
/// the newest (spec 04 §8.4).</summary>
internal sealed class ActionsIndex(IActionsService service, TimeProvider time)
{
    private static readonly TimeSpan Step = TimeSpan.FromSeconds(2);

    // How long another writer may take; one that takes longer has probably died.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    /// <summary>Writes the next version of an index.</summary>
    /// <exception cref="TransferException">The service refused, or did not answer.</exception>
    /// <exception cref="RemoteCacheException">The newest version has no number.</exception>
    public async Task SaveAsync(string key, byte[] bytes, CancellationToken cancellationToken)
    {
        var reservation = await ReserveNextAsync(key, cancellationToken).ConfigureAwait(false);
        var content = new ActionsContent(bytes.Length, (offset, _) => ValueTask.FromResult<Stream>(
            new MemoryStream(bytes, (int)offset, bytes.Length - (int)offset, writable: false)));
        await service.UploadAsync(reservation, content, cancellationToken).ConfigureAwait(false);
        await service.CommitAsync(reservation, bytes.Length, cancellationToken).ConfigureAwait(false);
    }

    private async Task<ActionsReservation> ReserveNextAsync(string key, CancellationToken cancellationToken)
    {
        var blocked = TimeSpan.Zero;
        while (true)
        {
            var newest = await service.FindAsync(key + "#", cancellationToken).ConfigureAwait(false);
            // The service's copies may lag behind each other: only what is answered twice is believed.
            if (newest is not null && (await service.FindAsync(key + "#", cancellationToken).ConfigureAwait(false))?.Key != newest.Key)
                continue;
            var number = NumberOf(key, newest);
            while (true)
            {
                number++;
                try
                {
                    return await service.ReserveAsync($"{key}#{number.ToString(CultureInfo.InvariantCulture)}", cancellationToken).ConfigureAwait(false);
                }
                catch (TransferException e) when (e.Code is ActionsProtocol.AlreadyExists or ActionsApi.LostReservation)
                {
                    if (blocked <= Patience)
                        break;
                }
            }
            blocked += Step;
            await Task.Delay(Step, time, cancellationToken).ConfigureAwait(false);
        }
    }

    private static long NumberOf(string key, ActionsEntry? newest)
    {
        if (newest is null)
            return 0;
        var text = newest.Key.StartsWith(key + "#", StringComparison.Ordinal) ? newest.Key[(key.Length + 1)..] : newest.Key;
        if (text.Length == 0)
            throw new RemoteCacheException($"corrupt empty index for {key}");
        return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw new RemoteCacheException($"failed to parse {key} index: strconv.Atoi: parsing {BuildKit.Oci.GoSyntax.Quote(text)}: invalid syntax");
    }
}
