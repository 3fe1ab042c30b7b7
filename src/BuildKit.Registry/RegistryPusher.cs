using System.Net;
using BuildKit.Oci;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.Registry.Http;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry;

/// <summary>How a blob came to be in the repository.</summary>
public enum PushOutcome
{
    /// <summary>It was there.</summary>
    Existed,
    /// <summary>The registry took it from another of its repositories.</summary>
    Mounted,
    /// <summary>It was sent.</summary>
    Uploaded,
}

/// <summary>Writes blobs and manifests to one repository (spec 07 §12.6), always to the registry itself, never to a mirror.
/// One method call is one attempt; <see cref="PushImageAsync"/> repeats. Safe for concurrent use.</summary>
public sealed class RegistryPusher
{
    /// <summary>Prefix of the annotation that names repositories already holding a blob; the host, without port, follows.</summary>
    public const string SourceAnnotationPrefix = "containerd.io/distribution.source.";

    private const int MostLooks = 5;

    private readonly RegistryRepository _repository;
    private readonly RegistryEndpoint _endpoint;
    private readonly RegistryRequests _requests;
    private readonly IReadOnlyList<string> _scopes;

    internal RegistryPusher(RegistryRepository repository, RegistryEndpoint endpoint, RegistryRequests requests)
    {
        (_repository, _endpoint, _requests) = (repository, endpoint, requests);
        _scopes = [Scopes.Repository(repository.Reference.Path, push: true)];
    }

    /// <summary>Makes sure a blob is in the repository: existence check, mount, or upload in one piece.</summary>
    /// <param name="descriptor">The blob; its source annotation of this host names repositories to mount from.</param>
    /// <param name="open">Opens its bytes; called once per attempt to send them.</param>
    /// <param name="progress">Receives the bytes sent so far.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    /// <exception cref="RegistryAuthorizationException">Not allowed.</exception>
    /// <exception cref="RegistryException">The registry did not take the blob.</exception>
    public async Task<PushOutcome> PushBlobAsync(
        Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        using var slot = await _repository.EnterTransferAsync(descriptor.MediaType, isWrite: true, cancellationToken);
        if (await ExistsAsync($"blobs/{descriptor.Digest}", descriptor, byTag: false, cancellationToken))
            return PushOutcome.Existed;
        using var started = await StartUploadAsync(descriptor, cancellationToken);
        if (started.Status == HttpStatusCode.Created)
            return PushOutcome.Mounted;
        if (started.Status is not (HttpStatusCode.OK or HttpStatusCode.Accepted or HttpStatusCode.NoContent))
            throw started.Unexpected();
        var (location, isSameHost) = Location(started);
        var put = new RegistryRequest(HttpMethod.Put, FormEncoding.AddQuery(location, KeyValuePair.Create("digest", descriptor.Digest.ToString())), _scopes)
        {
            Headers = [new("Content-Type", "application/octet-stream")],
            Body = () => new StreamingContent(open, descriptor.Size, progress),
            IsAuthorized = isSameHost,
        };
        await PutAsync(put, descriptor, cancellationToken);
        return PushOutcome.Uploaded;
    }

    /// <summary>Puts a manifest or index.</summary>
    /// <param name="descriptor">Its descriptor; the media type is sent.</param>
    /// <param name="json">Its bytes.</param>
    /// <param name="tag">The tag to point at it; empty to put it by digest.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    public async Task<PushOutcome> PushManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> json, string tag = "", CancellationToken cancellationToken = default)
    {
        using var slot = await _repository.EnterTransferAsync(descriptor.MediaType, isWrite: true, cancellationToken);
        var path = $"manifests/{(tag.Length > 0 ? tag : descriptor.Digest.ToString())}";
        if (await ExistsAsync(path, descriptor, byTag: tag.Length > 0, cancellationToken))
            return PushOutcome.Existed;
        await PutManifestAsync(descriptor, json, path, cancellationToken);
        return PushOutcome.Uploaded;
    }

    /// <summary>Puts a manifest under a tag that still points at something expected. Registries know no conditions, so the tag is
    /// looked at right before: when more time than allowed passed since (for a turn, for a token), it is looked at again.</summary>
    /// <param name="descriptor">The manifest; its media type is sent.</param>
    /// <param name="json">Its bytes.</param>
    /// <param name="tag">The tag.</param>
    /// <param name="expected">What the tag may point at; the default digest stands for no such tag.</param>
    /// <param name="longestLook">How old the look may be.</param>
    /// <param name="looked">When the caller looked and saw something expected; null makes a look here.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    /// <returns>Whether the tag points at the manifest now.</returns>
    public async Task<bool> MoveTagAsync(
        Descriptor descriptor, ReadOnlyMemory<byte> json, string tag, IReadOnlyCollection<Digest> expected, TimeSpan longestLook, long? looked = null, CancellationToken cancellationToken = default)
    {
        using var slot = await _repository.EnterTransferAsync(descriptor.MediaType, isWrite: true, cancellationToken);
        for (var look = 0; look < MostLooks; look++)
        {
            // A registry that always answers slowly is taken as it is.
            if (looked is { } at && _repository.Time.GetElapsedTime(at) <= longestLook)
                break;
            looked = _repository.Time.GetTimestamp();
            var current = (await _repository.FindTagAsync(tag, cancellationToken))?.Digest ?? default;
            if (current == descriptor.Digest)
                return true;
            if (!expected.Contains(current))
                return false;
        }
        await PutManifestAsync(descriptor, json, $"manifests/{tag}", cancellationToken);
        return true;
    }

    /// <summary>
    /// Pushes an image or index with everything below it: blobs concurrently, each digest once and non-distributable layers
    /// left out; then manifests, children first, the root last and by the reference's tag.
    /// </summary>
    /// <param name="root">The root.</param>
    /// <param name="source">Where all blobs are read from.</param>
    /// <param name="options">What to tell and how.</param>
    /// <param name="cancellationToken">Ends the push.</param>
    public async Task PushImageAsync(Descriptor root, IBlobSource source, PushOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new PushOptions();
        var rootJson = await source.ReadVerifiedAsync(root, cancellationToken: cancellationToken);
        root = root with { MediaType = ManifestContent.DetectMediaType(rootJson) };
        var manifests = new List<(Descriptor Descriptor, byte[] Json)>();
        var blobs = new Dictionary<Digest, Descriptor>();
        await CollectAsync(root, rootJson, source, manifests, blobs, cancellationToken);

        options.OnPushingLayers?.Invoke();
        using (var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
        {
            var pushes = blobs.Values.Select(blob => PushOneAsync(blob, stop)).ToList();
            await FirstErrorAsync(pushes);
        }
        options.OnPushingManifests?.Invoke();
        for (var i = manifests.Count - 1; i >= 0; i--)
        {
            var (descriptor, json) = manifests[i];
            var tag = i == 0 && !options.ByDigest ? _repository.Reference.WithDefaultTag().Tag : "";
            await RetryAsync(() => PushManifestAsync(descriptor, json, tag, cancellationToken), options, cancellationToken);
        }

        async Task PushOneAsync(Descriptor blob, CancellationTokenSource stop)
        {
            try
            {
                var progress = options.Progress is null ? null : new ForwardedProgress(blob, options.Progress);
                var sourced = options.AddSources is null ? blob : await options.AddSources(blob, stop.Token);
                var outcome = await RetryAsync(
                    () => PushBlobAsync(sourced, async token => await source.OpenAsync(blob, 0, token), progress, stop.Token), options, stop.Token);
                options.OnPushed?.Invoke(blob, outcome);
            }
            catch
            {
                await stop.CancelAsync();
                throw;
            }
        }
    }

    /// <summary>The repository to mount a blob from (spec 07 §12.6): most leading path components in common with the target, the
    /// last of equals; null when there is none.</summary>
    /// <param name="reference">The target.</param>
    /// <param name="annotations">Annotations of the blob.</param>
    public static string? MountCandidate(ImageReference reference, IReadOnlyDictionary<string, string> annotations)
    {
        if (!annotations.TryGetValue(SourceAnnotationPrefix + HostWithoutPort(reference.Domain), out var repositories))
            return null;
        var target = reference.Path.Split('/');
        var (best, match) = (0, (string?)null);
        foreach (var candidate in repositories.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            if (candidate == reference.Path)
                continue;
            var common = candidate.Split('/').Zip(target).TakeWhile(pair => pair.First == pair.Second).Count();
            if (common >= best)
                (best, match) = (common, candidate);
        }
        return match;
    }

    /// <summary>A host without its port, as in <see cref="SourceAnnotationPrefix"/>.</summary>
    public static string HostWithoutPort(string host)
    {
        var colon = host.LastIndexOf(':');
        return (colon < 0 || host.EndsWith(']') ? host : host[..colon]).Trim('[', ']');
    }

    private static async Task FirstErrorAsync(List<Task> pushes)
    {
        try
        {
            await Task.WhenAll(pushes);
        }
        catch (OperationCanceledException)
        {
            // The others were stopped because one failed; that one is the error.
            if (pushes.Find(push => push.IsFaulted) is { } failed)
                await failed;
            throw;
        }
    }

    private async Task CollectAsync(
        Descriptor descriptor, byte[] json, IBlobSource source, List<(Descriptor, byte[])> manifests, Dictionary<Digest, Descriptor> blobs, CancellationToken cancellationToken)
    {
        manifests.Add((descriptor, json));
        foreach (var child in ManifestContent.Children(descriptor.MediaType, json))
        {
            if (MediaTypes.IsManifest(child.MediaType) || MediaTypes.IsIndex(child.MediaType))
            {
                if (!manifests.Exists(known => known.Item1.Digest == child.Digest))
                    await CollectAsync(child, await source.ReadVerifiedAsync(child, cancellationToken: cancellationToken), source, manifests, blobs, cancellationToken);
            }
            else if (!MediaTypes.IsNondistributable(child.MediaType))
                blobs.TryAdd(child.Digest, child);
        }
    }

    private Task<PushOutcome> RetryAsync(Func<Task<PushOutcome>> push, PushOptions options, CancellationToken cancellationToken) =>
        _repository.Retry.RunAsync(push, options.Log, cancellationToken);

    private async Task<bool> ExistsAsync(string path, Descriptor descriptor, bool byTag, CancellationToken cancellationToken)
    {
        var head = new RegistryRequest(HttpMethod.Head, _endpoint.Url(_repository.Reference.Path, path), _scopes)
        {
            Headers = [new("Accept", descriptor.MediaType + ", */*")],
        };
        RegistryAnswer answer;
        try
        {
            answer = await _requests.SendAsync(head, cancellationToken);
        }
        catch (RegistryAuthorizationException e) when (IsRefusal(e))
        {
            return false; // Documented: a refused check is not fatal, the upload decides.
        }
        using (answer)
        {
            if (answer.Status == HttpStatusCode.OK)
                return !byTag || answer.Header("Docker-Content-Digest") == descriptor.Digest.ToString();
            if (answer.Status != HttpStatusCode.NotFound)
                throw answer.Unexpected();
            return false;
        }
    }

    private async Task<RegistryAnswer> StartUploadAsync(Descriptor descriptor, CancellationToken cancellationToken)
    {
        var url = _endpoint.Url(_repository.Reference.Path, "blobs/uploads/");
        if (MountCandidate(_repository.Reference, descriptor.Annotations) is { } from)
        {
            var mount = new RegistryRequest(HttpMethod.Post, $"{url}?mount={descriptor.Digest}&from={from}", [.. _scopes, Scopes.Repository(from, push: false)]);
            var answer = await _requests.SendAsync(mount, cancellationToken);
            if (answer.Status != HttpStatusCode.Unauthorized)
                return answer;
            answer.Dispose();
        }
        try
        {
            return await _requests.SendAsync(new RegistryRequest(HttpMethod.Post, url, _scopes), cancellationToken);
        }
        catch (RegistryAuthorizationException e) when (IsRefusal(e))
        {
            throw new RegistryAuthorizationException($"push access denied, repository does not exist or may require authorization: {e.Message}", e);
        }
    }

    private static bool IsRefusal(RegistryAuthorizationException e) => e.Message.StartsWith("server message:", StringComparison.Ordinal);

    private static (string Url, bool IsSameHost) Location(RegistryAnswer answer)
    {
        var requested = answer.Response.RequestMessage!.RequestUri!;
        var location = answer.Header("Location");
        if (location.StartsWith('/'))
            return ($"{requested.Scheme}://{requested.Authority}{location}", true);
        if (!location.Contains("://", StringComparison.Ordinal))
            location = $"{requested.Scheme}://{location}";
        if (!Uri.TryCreate(location, UriKind.Absolute, out var target))
            throw new RegistryException($"unable to parse location {location}");
        return (location, target.Authority == requested.Authority && target.Scheme == requested.Scheme);
    }

    private Task PutManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> json, string path, CancellationToken cancellationToken) => PutAsync(
        new RegistryRequest(HttpMethod.Put, _endpoint.Url(_repository.Reference.Path, path), _scopes)
        {
            Headers = [new("Content-Type", descriptor.MediaType)],
            Body = () => new ReadOnlyMemoryContent(json),
        },
        descriptor, cancellationToken);

    private async Task PutAsync(RegistryRequest put, Descriptor descriptor, CancellationToken cancellationToken)
    {
        using var answer = await _requests.SendAsync(put, cancellationToken);
        if (answer.Status is not (HttpStatusCode.OK or HttpStatusCode.Created or HttpStatusCode.Accepted or HttpStatusCode.NoContent))
            throw answer.Unexpected();
        var header = answer.Header("Docker-Content-Digest");
        if (!Digest.TryParse(header, out var stored))
            throw new RegistryException("invalid content digest in response: invalid checksum digest format");
        if (stored != descriptor.Digest)
            throw new RegistryException($"got digest {stored}, expected {descriptor.Digest}");
    }

    private sealed class ForwardedProgress(Descriptor blob, Action<Descriptor, long> report) : IProgress<long>
    {
        public void Report(long value) => report(blob, value);
    }
}

/// <summary>What a push tells and how it is done.</summary>
public sealed record PushOptions
{
    /// <summary>Put the root by its digest, not by the tag.</summary>
    public bool ByDigest { get; init; }

    /// <summary>Receives lines for the vertex log: <c>error: …</c>, <c>retrying in …</c>.</summary>
    public Action<string>? Log { get; init; }

    /// <summary>Adds to a blob the annotations that name repositories to mount it from, which manifests do not carry.</summary>
    public Func<Descriptor, CancellationToken, Task<Descriptor>>? AddSources { get; init; }

    /// <summary>Called before the first blob (progress <c>pushing layers</c>).</summary>
    public Action? OnPushingLayers { get; init; }

    /// <summary>Called when all blobs are there (progress <c>pushing manifest for …</c>).</summary>
    public Action? OnPushingManifests { get; init; }

    /// <summary>Called for each blob that is in the repository; from any thread.</summary>
    public Action<Descriptor, PushOutcome>? OnPushed { get; init; }

    /// <summary>Bytes of a blob sent so far; from any thread.</summary>
    public Action<Descriptor, long>? Progress { get; init; }
}
