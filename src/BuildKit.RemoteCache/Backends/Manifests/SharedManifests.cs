using BuildKit.Oci;
using BuildKit.RemoteCache.Config;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>A manifest that a name points at, and the cache it names (null when it names none).</summary>
internal sealed record FoundManifest(Descriptor Root, ManifestCache Document, MarshalledCache? Cache, byte[] ConfigJson);

/// <summary>What both names of a shared cache point at.</summary>
/// <param name="Main">Under the main name; null for nothing.</param>
/// <param name="Second">Under the second one, when it is another manifest that counts.</param>
/// <param name="SecondDigest">What the second name points at, whether it counts or not; the default digest for nothing.</param>
/// <param name="Looked">When it was looked at.</param>
internal sealed record SharedManifests(FoundManifest? Main, FoundManifest? Second, Digest SecondDigest, long Looked)
{
    /// <summary>All caches to be joined.</summary>
    public IReadOnlyList<MarshalledCache> Caches => [.. new[] { Main?.Cache, Second?.Cache }.OfType<MarshalledCache>()];

    /// <summary>Manifests whose caches were joined.</summary>
    public IReadOnlyList<Digest> Digests => [Main?.Root.Digest ?? default, .. Second is null ? [] : new[] { Second.Root.Digest }];
}

/// <summary>Reads what the names of a shared cache point at; a manifest that was read before is not read again.</summary>
internal sealed class SharedManifestReader(IJoinableTarget target, TimeProvider time)
{
    private const int LargestReadable = 64 << 20;

    private readonly ManifestReader _reader = new(target.Blobs);
    private readonly Dictionary<Digest, FoundManifest> _known = [];

    /// <summary>Reads both. The second one counts beside a main one that says so: who replaced or removed the main one replaced
    /// the cache.</summary>
    public async Task<SharedManifests> ReadAsync(CancellationToken cancellationToken)
    {
        var looked = time.GetTimestamp();
        var seconds = target.FindAsync(CacheTag.Second, cancellationToken);
        var main = await target.FindAsync(CacheTag.Main, cancellationToken).ConfigureAwait(false) is { } root ? await ReadAsync(root, cancellationToken).ConfigureAwait(false) : null;
        var second = await seconds.ConfigureAwait(false);
        var counts = second is not null && second.Digest != main?.Root.Digest && main?.Cache?.Config.Parts is not null;
        return new SharedManifests(main, counts ? await ReadAsync(second!, cancellationToken).ConfigureAwait(false) : null, second?.Digest ?? default, looked);
    }

    private async Task<FoundManifest> ReadAsync(Descriptor root, CancellationToken cancellationToken)
    {
        if (_known.TryGetValue(root.Digest, out var known))
            return known;
        var document = await _reader.ReadAsync(root, LargestReadable, cancellationToken).ConfigureAwait(false);
        var read = await _reader.ReadCacheAsync(document, LargestReadable, cancellationToken).ConfigureAwait(false);
        return _known[root.Digest] = new FoundManifest(root, document, read?.Cache, read?.Config ?? []);
    }
}
