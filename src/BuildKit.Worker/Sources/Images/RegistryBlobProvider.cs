using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Storage.Content;

namespace BuildKit.Worker.Sources.Images;

/// <summary>Layers of a repository, as the storage asks for them.</summary>
/// <param name="open">Opens the repository anew for each fetch: the sessions that may serve credentials change.</param>
public sealed class RegistryBlobProvider(Func<IBlobSource> open) : IBlobProvider
{
    /// <inheritdoc/>
    public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
        await open().OpenAsync(descriptor, offset, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken)
    {
        try
        {
            await using var probe = await open().OpenAsync(descriptor, 0, cancellationToken);
            return descriptor;
        }
        catch (RegistryNotFoundException)
        {
            return null;
        }
    }
}
