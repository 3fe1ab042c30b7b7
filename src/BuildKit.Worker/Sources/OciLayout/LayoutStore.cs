using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Registry;
using BuildKit.Session.Content;
using BuildKit.Storage.Content;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Sources.OciLayout;

/// <summary>
/// An OCI layout directory of a client, read through its session (spec 06 §9.2). The session is looked up anew for each
/// blob: layers are fetched long after the image was resolved.
/// </summary>
/// <param name="sessions">The clients.</param>
/// <param name="sessionId">The client that has the layout; empty for any of the build's.</param>
/// <param name="name">Name under which the client offers it.</param>
/// <param name="sessionIds">The build's clients.</param>
public sealed class LayoutStore(IClientSessions sessions, string sessionId, string name, IEnumerable<string> sessionIds) : IBlobSource, IBlobProvider
{
    private readonly string _store = ContentStores.Oci(name);

    /// <summary>Reads everything of an image but its layers.</summary>
    /// <param name="reference">The image; only its digest counts.</param>
    /// <param name="platform">Which image of an index.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="InvalidOperationException">The reference names no image of the layout.</exception>
    public async Task<ResolvedImage> ResolveAsync(ImageReference reference, Platform platform, CancellationToken cancellationToken)
    {
        if (reference.Digest.IsEmpty)
            throw new InvalidOperationException($"reference {GoQuote.Quote(reference.ToString())} must have digest");
        var size = await AskAsync(client => client.GetSizeAsync(reference.Digest, cancellationToken), cancellationToken)
            ?? throw new RegistryNotFoundException($"unable to get info about digest: content digest {reference.Digest}: not found");
        var root = new Descriptor("", reference.Digest, size);
        try
        {
            return await ResolvedImage.ReadAsync(this, root, PlatformMatcher.Only(platform), cancellationToken);
        }
        catch (FormatException exception)
        {
            throw new InvalidOperationException($"reference {GoQuote.Quote(reference.ToString())} contains neither an index nor a manifest: {exception.Message}", exception);
        }
    }

    /// <inheritdoc/>
    public Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default) =>
        AskAsync(client => client.OpenReadAsync(descriptor.Digest, offset, 0, cancellationToken), cancellationToken);

    /// <inheritdoc/>
    async ValueTask<Stream> IBlobProvider.OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
        await OpenAsync(descriptor, offset, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) =>
        await AskAsync(client => client.GetSizeAsync(descriptor.Digest, cancellationToken), cancellationToken) is { } size ? descriptor with { Size = size } : null;

    private async Task<T> AskAsync<T>(Func<ContentClient, Task<T>> ask, CancellationToken cancellationToken)
    {
        try
        {
            return await sessions.AnyAsync(
                sessionId.Length > 0 ? [sessionId] : sessionIds, session => ask(new ContentClient(session.Channel, _store)), cancellationToken);
        }
        catch (RpcException exception) when (exception.Code == StatusCode.Unimplemented)
        {
            throw new InvalidOperationException($"the client offers no OCI layout {name}: name it with --oci-layout {name}=DIR", exception);
        }
    }
}
