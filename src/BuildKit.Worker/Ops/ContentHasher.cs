using BuildKit.Oci;
using BuildKit.Storage.Checksums;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops.Digests;

namespace BuildKit.Worker.Ops;

/// <summary>Content digests of inputs from the storage's checksums.</summary>
public sealed class ContentHasher(ContentChecksum checksums, string workerId) : IContentHasher
{
    /// <inheritdoc/>
    public async Task<Digest> ComputeAsync(IImmutableRef? reference, IReadOnlyList<ContentSelector> selectors, CancellationToken cancellationToken)
    {
        var digests = new List<string>();
        foreach (var (path, options) in Questions(selectors))
        {
            try
            {
                var digest = await checksums.ComputeAsync(reference, path, options, cancellationToken);
                digests.Add(digest.ToString());
            }
            catch (ContentNotFoundException exception)
            {
                throw new ContentNotFoundException($"failed to calculate checksum of ref {workerId}::{reference?.Id}: {exception.Message}");
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                throw new InvalidOperationException($"failed to calculate checksum of ref {workerId}::{reference?.Id}: {exception.Message}", exception);
            }
        }
        return Digest.Sha256(string.Join('\0', digests));
    }

    /// <inheritdoc/>
    public async Task<ContentListing> ListAsync(IImmutableRef? reference, IReadOnlyList<ContentSelector> selectors, CancellationToken cancellationToken)
    {
        var list = new ContentListing();
        if (reference is null)
            return list;
        foreach (var (path, options) in Questions(selectors))
            await checksums.ListAsync(reference, path, options, list, cancellationToken);
        return list;
    }

    private static IEnumerable<(string Path, ChecksumOptions Options)> Questions(IReadOnlyList<ContentSelector> selectors)
    {
        IReadOnlyList<ContentSelector> wanted = selectors.Count > 0 ? selectors : [new ContentSelector("", FollowLinks: false)];
        return wanted.Select(selector => ("/" + selector.Path.TrimStart('/'), new ChecksumOptions(selector.FollowLinks, selector.Wildcard)
        {
            IncludePatterns = selector.IncludePatterns,
            ExcludePatterns = selector.ExcludePatterns,
        }));
    }
}
