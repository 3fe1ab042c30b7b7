using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>A committed entry of the cache service.</summary>
/// <param name="Key">Its whole key.</param>
/// <param name="Url">Where its bytes are, for a while.</param>
internal sealed record ActionsEntry(string Key, string Url);

/// <summary>An entry that may be uploaded; nobody else can find or reserve it.</summary>
/// <param name="Key">Its key.</param>
/// <param name="Target">Where its bytes go: an id or an address, as the version of the service has it.</param>
internal sealed record ActionsReservation(string Key, string Target);

/// <summary>The bytes of an entry to be. <paramref name="OpenAsync"/> opens them at an offset; size in bytes.</summary>
internal sealed record ActionsContent(long Size, Func<long, CancellationToken, ValueTask<Stream>> OpenAsync)
{
    public IProgress<long>? Progress { get; init; }
}

/// <summary>The cache service in one of its versions. Entries never change; those of the token's scopes are found, the first scope's
/// before the others'. Busy answers are waited for, broken connections repeated. All calls may run at the same time and fail with
/// <see cref="TransferException"/>.</summary>
internal interface IActionsService
{
    /// <summary>The newest entry whose key begins so, or null.</summary>
    Task<ActionsEntry?> FindAsync(string key, CancellationToken cancellationToken);

    /// <summary>Reserves an entry. Error: <see cref="ActionsProtocol.AlreadyExists"/>.</summary>
    Task<ActionsReservation> ReserveAsync(string key, CancellationToken cancellationToken);

    /// <summary>Sends the bytes of an entry.</summary>
    Task UploadAsync(ActionsReservation reservation, ActionsContent content, CancellationToken cancellationToken);

    /// <summary>Makes an entry findable; the service compares the size in bytes.</summary>
    Task CommitAsync(ActionsReservation reservation, long size, CancellationToken cancellationToken);

    /// <summary>All bytes of a small entry.</summary>
    Task<byte[]> ReadAsync(ActionsEntry entry, CancellationToken cancellationToken);

    /// <summary>Opens an entry at an offset; the bytes are not verified. Size of the whole in bytes.</summary>
    Stream Open(ActionsEntry entry, long offset, long size);
}
