using System.IO.Compression;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.Registry.Http;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry;

/// <summary>One repository as one session sees it: resolve, read and (when opened for pushing) write. Safe for concurrent use.</summary>
public sealed class RegistryRepository : IBlobSource
{
    /// <summary>Manifests larger than this many bytes are refused.</summary>
    public const int LargestManifest = 4_393_216;

    private const string ResolveAccept =
        MediaTypes.DockerManifest + ", " + MediaTypes.DockerManifestList + ", " + MediaTypes.OciManifest + ", " + MediaTypes.OciIndex + ", */*";

    private readonly IReadOnlyList<(RegistryEndpoint Endpoint, RegistryRequests Requests)> _hosts;
    private readonly IReadOnlyList<string> _scopes;
    private readonly TransferLimiter _limiter;
    private readonly ResumeRules _resuming;

    internal RegistryRepository(
        ImageReference reference, bool isPush, IReadOnlyList<(RegistryEndpoint, RegistryRequests)> hosts, TransferLimiter limiter, RegistryRetry retry)
    {
        (Reference, _hosts, _limiter, Retry) = (reference, hosts, limiter, retry);
        _resuming = new ResumeRules(
            static error => error is RegistryTransportException { IsTransient: true }, static text => new RegistryTransportException(text, isTransient: true), PauseAsync);
        Persistent = new PersistentSource(this);
        _scopes = [Scopes.Repository(reference.Path, push: false)];
        Pusher = isPush ? new RegistryPusher(this, hosts[^1].Item1, hosts[^1].Item2) : null;
    }

    /// <summary>The reference it was opened for.</summary>
    public ImageReference Reference { get; }

    /// <summary>Writes to the repository; null when it was opened for reading.</summary>
    public RegistryPusher? Pusher { get; }

    /// <summary>Whether reads wait at the moment, for others to end (there are at most four at once per registry) or for the
    /// registry's sake: its silence says nothing then.</summary>
    public bool IsBusy => _limiter.IsBusy(Reference.Domain) || Retry.IsWaiting;

    /// <summary>Clock of waits and limits.</summary>
    public TimeProvider Time => Retry.Time;

    /// <summary>How transfers of this repository are repeated.</summary>
    public RegistryRetry Retry { get; }

    /// <summary>The blobs as <see cref="OpenAsync"/> has them; where that gives up because the registry is busy or a connection
    /// broke before the first byte, this waits and asks again.</summary>
    public IBlobSource Persistent { get; }

    /// <summary>Finds the descriptor of the reference's tag or digest (spec 07 §12.7): <c>HEAD</c>, and <c>GET</c> where the
    /// answer has no digest or length.</summary>
    /// <exception cref="RegistryNotFoundException">No such image: <c>&lt;ref&gt;: not found</c>.</exception>
    /// <exception cref="RegistryAuthorizationException">Not allowed.</exception>
    /// <exception cref="RegistryException">No host answered as expected; the most telling error.</exception>
    public async Task<Descriptor> ResolveAsync(CancellationToken cancellationToken = default)
    {
        var reference = Reference.WithDefaultTag();
        string[] paths = reference.Digest.IsEmpty ? [$"manifests/{reference.Tag}"] : [$"manifests/{reference.Digest}", $"blobs/{reference.Digest}"];
        RegistryException? failure = null;
        var relevance = 0;
        foreach (var path in paths)
        {
            foreach (var (endpoint, requests) in _hosts)
            {
                try
                {
                    return await ResolveAtAsync(endpoint, requests, path, reference, cancellationToken);
                }
                catch (RegistryException e)
                {
                    // Most relevant: too large, bad status, not found, transport; the first of each kind.
                    var weight = e switch
                    {
                        TooLargeException => 4,
                        RegistryStatusException => 3,
                        RegistryNotFoundException => 2,
                        _ => 1,
                    };
                    if (weight > relevance)
                        (failure, relevance) = (e is TooLargeException ? new RegistryNotFoundException(e.Message) : e, weight);
                }
            }
        }
        throw failure ?? new RegistryNotFoundException($"{reference}: not found");
    }

    /// <summary>What a tag of the repository points at: asked of the registry itself, because mirrors may be behind. Null when
    /// there is no such tag.</summary>
    /// <param name="tag">The tag.</param>
    /// <param name="cancellationToken">Ends the request.</param>
    /// <exception cref="RegistryException">The registry did not answer as expected.</exception>
    public async Task<Descriptor?> FindTagAsync(string tag, CancellationToken cancellationToken = default)
    {
        try
        {
            var (endpoint, requests) = _hosts[^1];
            return await ResolveAtAsync(endpoint, requests, $"manifests/{tag}", Reference.WithoutObject().WithTag(tag), cancellationToken);
        }
        catch (RegistryNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Opens a blob or manifest at an offset (spec 07 §12.7). The stream resumes broken connections by itself and is
    /// not verified; nothing is sent before the first read. The caller disposes it.</summary>
    /// <param name="descriptor">What to read; its own URLs are tried first.</param>
    /// <param name="offset">First byte wanted.</param>
    /// <param name="cancellationToken">Unused until reads, which take their own.</param>
    public Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default) =>
        Task.FromResult<Stream>(new ResumingStream((position, _) => OpenOnceAsync(descriptor, position, cancellationToken), offset, descriptor.Size, _resuming));

    // The first break of a transfer that moved is mended at once.
    private Task PauseAsync(int breaks, Exception error, CancellationToken cancellationToken)
    {
        var asked = (error as RegistryException)?.RetryAfter;
        return breaks == 1 && error is RegistryTransportException && asked is null ? Task.CompletedTask : Retry.PauseAsync(breaks, asked, cancellationToken);
    }

    internal Task<IDisposable> EnterTransferAsync(string mediaType, bool isWrite, CancellationToken cancellationToken) =>
        _limiter.EnterAsync(Reference.Domain, mediaType, isWrite, cancellationToken);

    private async Task<Descriptor> ResolveAtAsync(
        RegistryEndpoint endpoint, RegistryRequests requests, string path, ImageReference reference, CancellationToken cancellationToken)
    {
        var request = new RegistryRequest(HttpMethod.Head, endpoint.Url(reference.Path, path), _scopes) { Headers = [new("Accept", ResolveAccept)] };
        Digest digest;
        long size;
        string mediaType;
        using (var answer = await SendAsync(requests, request, cancellationToken))
        {
            Check(answer, reference);
            (digest, size, mediaType) = (reference.Digest, answer.Response.Content.Headers.ContentLength ?? -1, MediaTypeOf(answer));
            if (digest.IsEmpty && size >= 0 && answer.Header("Docker-Content-Digest") is { Length: > 0 } header && !Digest.TryParse(header, out digest))
                throw new RegistryException($"{GoSyntax.Quote(header)} in header not a valid digest: invalid checksum digest format");
        }
        if (digest.IsEmpty || size < 0)
        {
            using var answer = await SendAsync(requests, request with { Method = HttpMethod.Get }, cancellationToken);
            Check(answer, reference);
            mediaType = MediaTypeOf(answer);
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using var body = await requests.OpenBodyAsync(answer, cancellationToken);
            var buffer = new byte[32 * 1024];
            size = 0;
            for (int count; size <= LargestManifest && (count = await body.ReadAsync(buffer, cancellationToken)) > 0; size += count)
                hash.AppendData(buffer, 0, count);
            if (digest.IsEmpty)
                digest = Digest.FromSha256(hash.GetHashAndReset());
        }
        if (size > LargestManifest)
            throw new TooLargeException($"rejecting {size} byte manifest for {reference}: not found");
        return new Descriptor(mediaType, digest, size);
    }

    private static void Check(RegistryAnswer answer, ImageReference reference)
    {
        if (answer.Status == HttpStatusCode.NotFound)
            throw new RegistryNotFoundException($"{reference}: not found");
        if ((int)answer.Status > 299)
            throw answer.Unexpected();
    }

    private static string MediaTypeOf(RegistryAnswer answer)
    {
        var type = answer.Header("Content-Type");
        var semicolon = type.IndexOf(';', StringComparison.Ordinal);
        return (semicolon < 0 ? type : type[..semicolon]).Trim();
    }

    private static async Task<RegistryAnswer> SendAsync(RegistryRequests requests, RegistryRequest request, CancellationToken cancellationToken)
    {
        try
        {
            return await requests.SendAsync(request, cancellationToken);
        }
        catch (RegistryAuthorizationException e) when (e.Message.StartsWith("server message:", StringComparison.Ordinal))
        {
            throw new RegistryAuthorizationException($"pull access denied, repository does not exist or may require authorization: {e.Message}", e);
        }
    }

    private async Task<Stream> OpenOnceAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        var slot = await EnterTransferAsync(descriptor.MediaType, isWrite: false, cancellationToken);
        try
        {
            return new SlotStream(await OpenAnywhereAsync(descriptor, offset, cancellationToken), slot);
        }
        catch
        {
            slot.Dispose();
            throw;
        }
    }

    private async Task<Stream> OpenAnywhereAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        foreach (var url in descriptor.Urls)
        {
            if (!Uri.TryCreate(url, UriKind.Absolute, out var foreign) || foreign.Scheme is not ("http" or "https"))
                continue;
            try
            {
                return await OpenAtAsync(_hosts[^1].Requests, new RegistryRequest(HttpMethod.Get, url, []) { IsAuthorized = false }, descriptor, offset, cancellationToken);
            }
            catch (RegistryNotFoundException)
            {
                // Documented: the other locations are tried next.
            }
        }
        var isManifest = MediaTypes.IsManifest(descriptor.MediaType) || MediaTypes.IsIndex(descriptor.MediaType) || descriptor.MediaType == MediaTypes.DockerSchema1Manifest;
        RegistryException? failure = null;
        foreach (var (endpoint, requests) in _hosts)
        {
            var url = endpoint.Url(Reference.Path, $"{(isManifest ? "manifests" : "blobs")}/{descriptor.Digest}");
            try
            {
                return await OpenAtAsync(requests, new RegistryRequest(HttpMethod.Get, url, _scopes), descriptor, offset, cancellationToken);
            }
            catch (RegistryException e)
            {
                failure ??= e;
            }
        }
        if (!isManifest && failure is RegistryNotFoundException)
            failure = new RegistryNotFoundException($"could not fetch content descriptor {descriptor.Digest} ({descriptor.MediaType}) from remote: not found", failure);
        throw failure!;
    }

    private static async Task<Stream> OpenAtAsync(RegistryRequests requests, RegistryRequest request, Descriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        // zstd is not offered: it is legal to leave it out, and blobs are hardly ever encoded a second time.
        List<KeyValuePair<string, string>> headers =
        [
            new("Accept", descriptor.MediaType.Length == 0 ? "*/*" : descriptor.MediaType + ", */*"),
            new("Accept-Encoding", "gzip;q=0.8, deflate;q=0.5"),
        ];
        if (offset > 0)
            headers.Add(new("Range", $"bytes={offset}-"));
        var answer = await SendAsync(requests, request with { Headers = headers }, cancellationToken);
        try
        {
            if ((int)answer.Status > 299)
                throw await FetchErrorAsync(answer, cancellationToken);
            var body = await requests.OpenBodyAsync(answer, cancellationToken);
            if (offset > 0)
            {
                var range = answer.Header("Content-Range");
                if (range.Length > 0 && !range.StartsWith($"bytes {offset}-", StringComparison.Ordinal))
                    throw new RegistryException($"unhandled content range in response: {range}");
                if (range.Length == 0)
                    await SkipAsync(body, offset, cancellationToken);
            }
            foreach (var encoding in Enumerable.Reverse(answer.Header("Content-Encoding").Split([' ', '\t', ','], StringSplitOptions.RemoveEmptyEntries)))
            {
                body = encoding.ToLowerInvariant() switch
                {
                    "gzip" => new GZipStream(body, CompressionMode.Decompress),
                    "deflate" => new DeflateStream(body, CompressionMode.Decompress),
                    "identity" => body,
                    var other => throw new RegistryException($"unsupported Content-Encoding algorithm: {other}"),
                };
            }
            return body;
        }
        catch
        {
            answer.Dispose();
            throw;
        }
    }

    private static async Task SkipAsync(Stream body, long count, CancellationToken cancellationToken)
    {
        var buffer = new byte[64 * 1024];
        while (count > 0)
        {
            var read = await body.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, count)), cancellationToken);
            if (read == 0)
                throw new RegistryException("unable to discard to offset");
            count -= read;
        }
    }

    private static async Task<RegistryException> FetchErrorAsync(RegistryAnswer answer, CancellationToken cancellationToken)
    {
        if (answer.Status == HttpStatusCode.NotFound)
            return new RegistryNotFoundException($"content at {answer.Url} not found: not found");
        var message = $"unexpected status code {answer.Url}: {RegistryRequests.StatusLine(answer.Response)}";
        var details = RegistryErrorBody.Format(await RegistryRequests.ReadBodyAsync(answer.Response, 1 << 20, cancellationToken));
        return new RegistryStatusException(
            answer.Method, answer.Url, answer.Status, "", details.Length == 0 ? message : $"{message} - Server message: {details}",
            RegistryRequests.RetryAfter(answer.Response, TimeProvider.System));
    }

    private sealed class PersistentSource(RegistryRepository repository) : IBlobSource
    {
        private readonly ResumeRules _rules = repository._resuming with { IsBusy = static error => error is RegistryException { IsTransient: true } };

        public Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default) =>
            Task.FromResult<Stream>(new ResumingStream((position, _) => repository.OpenOnceAsync(descriptor, position, cancellationToken), offset, descriptor.Size, _rules));
    }

    private sealed class TooLargeException(string message) : RegistryException(message);
}
