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
    public async Task SaveAsync(string key, byte[] bytes, CancellationToken cancellationToken) =>
        await WriteAsync(await ReserveNextAsync(key, cancellationToken).ConfigureAwait(false), bytes, cancellationToken).ConfigureAwait(false);

    /// <summary>Joins what the newest version says and writes the next one. A number is given to one writer only, so what came between
    /// is found out: its version is waited for and joined too. A writer that takes longer than others wait for it is overtaken, notices
    /// that, and joins what overtook it.</summary>
    /// <param name="key">Key of the index without a number.</param>
    /// <param name="join">Makes the bytes to write from all versions that count.</param>
    /// <param name="cancellationToken">Ends the attempts.</param>
    /// <exception cref="TransferException">The service refused, or did not answer.</exception>
    /// <exception cref="RemoteCacheException">The newest version has no number.</exception>
    public async Task JoinAsync(string key, Func<IReadOnlyList<byte[]>, Task<byte[]>> join, CancellationToken cancellationToken)
    {
        var known = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var waiting = new Dictionary<long, long>();
        var isLate = false;
        for (var attempt = 0; ; attempt++)
        {
            List<byte[]> versions = [];
            var newest = await FindNewestAsync(key, cancellationToken).ConfigureAwait(false);
            if (newest is not null)
                versions.Add(await ReadAsync(newest).ConfigureAwait(false));
            for (var number = NumberOf(key, newest) + 1; ; number++)
            {
                var bytes = await join(versions).ConfigureAwait(false);
                if (versions.Count == 1 && bytes.AsSpan().SequenceEqual(versions[0]) && !isLate)
                    return;
                var next = $"{key}#{number.ToString(CultureInfo.InvariantCulture)}";
                var asked = time.GetTimestamp();
                if (await TryReserveAsync(next, cancellationToken).ConfigureAwait(false) is { } reservation)
                {
                    await WriteAsync(reservation, bytes, cancellationToken).ConfigureAwait(false);
                    if (time.GetElapsedTime(asked) <= Patience)
                        return;
                    isLate = true;
                    break;
                }
                if (await service.FindAsync(next, cancellationToken).ConfigureAwait(false) is { } taken && taken.Key == next)
                    versions.Add(await ReadAsync(taken).ConfigureAwait(false));
                else if (waiting.TryAdd(number, asked) || time.GetElapsedTime(waiting[number]) <= Patience)
                    break;
            }
            await Merging.ConditionalMerge.PauseAsync(attempt, time, cancellationToken).ConfigureAwait(false);
        }

        async Task<byte[]> ReadAsync(ActionsEntry entry) =>
            known.TryGetValue(entry.Key, out var bytes) ? bytes : known[entry.Key] = await service.ReadAsync(entry, cancellationToken).ConfigureAwait(false);
    }

    private async Task<ActionsEntry?> FindNewestAsync(string key, CancellationToken cancellationToken)
    {
        while (true)
        {
            var newest = await service.FindAsync(key + "#", cancellationToken).ConfigureAwait(false);
            // The service's copies may lag behind each other: only what is answered twice is believed.
            if (newest is null || (await service.FindAsync(key + "#", cancellationToken).ConfigureAwait(false))?.Key == newest.Key)
                return newest;
        }
    }

    /// <summary>Reserves an entry; null when another writer has it.</summary>
    private async Task<ActionsReservation?> TryReserveAsync(string key, CancellationToken cancellationToken)
    {
        try
        {
            return await service.ReserveAsync(key, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Code is ActionsProtocol.AlreadyExists or ActionsApi.LostReservation)
        {
            return null;
        }
    }

    private async Task WriteAsync(ActionsReservation reservation, byte[] bytes, CancellationToken cancellationToken)
    {
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
            var number = NumberOf(key, await FindNewestAsync(key, cancellationToken).ConfigureAwait(false));
            while (true)
            {
                number++;
                if (await TryReserveAsync($"{key}#{number.ToString(CultureInfo.InvariantCulture)}", cancellationToken).ConfigureAwait(false) is { } reservation)
                    return reservation;
                if (blocked <= Patience)
                    break;
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
