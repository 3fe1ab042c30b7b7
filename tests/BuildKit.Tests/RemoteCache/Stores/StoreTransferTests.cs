using System.Net;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.S3;
using BuildKit.RemoteCache.Backends.S3.Credentials;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.RemoteCache.Stores;

public sealed class StoreTransferTests
{
    private const string S3 = "endpoint_url=http://@,use_path_style=1,bucket=bkt,region=r,access_key_id=AK,secret_access_key=SK";
    private const string Azure = "account_url=http://@/az,account_name=acct,secret_access_key=c2VjcmV0";

    [Fact]
    public void The_signature_is_the_one_of_Amazons_documentation()
    {
        using var message = new HttpRequestMessage(HttpMethod.Get, "https://examplebucket.s3.amazonaws.com/test.txt");
        message.Headers.TryAddWithoutValidation("Range", "bytes=0-9");
        AwsSigner.Sign(
            message, new AwsCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", null), "us-east-1", "s3",
            AwsSigner.EmptyHash, new DateTimeOffset(2013, 5, 24, 0, 0, 0, TimeSpan.Zero));
        Assert.Equal(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            + "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            message.Headers.NonValidated["Authorization"].ToString());
    }

    [Theory]
    [InlineData("s3", S3)]
    [InlineData("azblob", Azure)]
    public async Task A_store_that_is_busy_is_left_alone_as_long_as_it_asks(string type, string attributes)
    {
        var busy = 2;
        await using var store = await MemoryStore.StartAsync();
        store.Before = context =>
        {
            if (context.Request.Method != "PUT" || Interlocked.Decrement(ref busy) < 0)
                return Task.FromResult(false);
            context.Status(busy == 1 ? 503 : 429);
            context.Response.Headers.RetryAfter = "7";
            return Task.FromResult(true);
        };
        var time = new ImpatientTime();
        var (cache, _) = await StoreKit.CacheAsync(10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(type, StoreKit.Attributes(attributes, store.Host), StoreKit.Context(time: time), default);
        await export.WriteAsync(cache, StoreKit.Progress(), default);
        Assert.Equal(2, store.Objects.Count);
        Assert.Equal(2, time.Waits.Count(w => w == TimeSpan.FromSeconds(7)));
    }

    [Theory]
    [InlineData("s3", S3, 3, "error writing layer blob: operation error S3: PutObject, exceeded maximum number of attempts, 3, https response error StatusCode: 503, RequestID: , HostID: , api error SlowDown: Please reduce your request rate.")]
    [InlineData("azblob", Azure, 4, "failed to upload blob blobs/sha256:#: exceeded maximum number of attempts, 4, PUT http://@/az/buildkit-cache/blobs%2Fsha256:#: RESPONSE 503: 503 Service Unavailable, ERROR CODE: SlowDown: Please reduce your request rate.")]
    public async Task A_store_that_stays_busy_fails_the_export(string type, string attributes, int attempts, string error)
    {
        await using var store = await MemoryStore.StartAsync();
        store.Before = async context =>
        {
            if (context.Request.Method != "PUT")
                return false;
            context.Status(503);
            await context.Response.WriteAsync("<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>");
            return true;
        };
        var (cache, blobs) = await StoreKit.CacheAsync(10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(type, StoreKit.Attributes(attributes, store.Host), StoreKit.Context(time: new ImpatientTime()), default);
        var thrown = await Assert.ThrowsAnyAsync<Exception>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.Equal(error.Replace("#", blobs.Blobs.Keys.Single().Hex, StringComparison.Ordinal).Replace("@", store.Host, StringComparison.Ordinal), thrown.Message);
        Assert.Equal(attempts, store.Requests.Count(r => r.StartsWith("PUT", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("s3", S3)]
    [InlineData("azblob", Azure)]
    public async Task A_refusal_is_not_repeated(string type, string attributes)
    {
        await using var store = await MemoryStore.StartAsync();
        store.Before = async context =>
        {
            if (context.Request.Method != "PUT")
                return false;
            context.Status(403);
            await context.Response.WriteAsync("<Error><Code>AccessDenied</Code><Message>No.</Message></Error>");
            return true;
        };
        var (cache, _) = await StoreKit.CacheAsync(10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(type, StoreKit.Attributes(attributes, store.Host), StoreKit.Context(), default);
        var thrown = await Assert.ThrowsAnyAsync<Exception>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.Contains("AccessDenied: No.", thrown.Message, StringComparison.Ordinal);
        Assert.Single(store.Requests, r => r.StartsWith("PUT", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("s3", S3, "abort", 0)]
    [InlineData("s3", S3, "short", 0)]
    [InlineData("azblob", Azure, "abort", 100)]
    [InlineData("azblob", Azure, "short", 100)]
    public async Task A_download_that_breaks_goes_on_at_the_same_byte(string type, string attributes, string fault, int offset)
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, blobs) = await StoreKit.CacheAsync(300_000);
        var context = StoreKit.Context(time: new ImpatientTime());
        var backends = CacheBackendRegistry.WithBuiltIns();
        await (await backends.ResolveExporterAsync(type, StoreKit.Attributes(attributes, store.Host), context, default)).WriteAsync(cache, StoreKit.Progress(), default);
        var bytes = blobs.Blobs.Single().Value;
        var ranges = new List<string>();
        store.Before = async http =>
        {
            if (http.Request.Method != "GET" || !http.Request.Path.Value!.Contains("blobs", StringComparison.Ordinal))
                return false;
            var range = $"{http.Request.Headers.Range}{http.Request.Headers["x-ms-range"]}";
            ranges.Add(range);
            var from = range.Length > 0 ? int.Parse(range["bytes=".Length..^1], System.Globalization.CultureInfo.InvariantCulture) : 0;
            http.Status(range.Length > 0 ? 206 : 200);
            if (range.Length > 0)
                http.Response.Headers.ContentRange = $"bytes {from}-{bytes.Length - 1}/{bytes.Length}";
            var count = Math.Min(100_000, bytes.Length - from);
            http.Response.ContentLength = fault == "abort" ? bytes.Length - from : count;
            await http.Response.Body.WriteAsync(bytes.AsMemory(from, count));
            if (fault == "abort" && from + count < bytes.Length)
            {
                await http.Response.Body.FlushAsync();
                await Task.Delay(50); // so that the bytes leave before the connection does
                http.Abort();
            }
            return true;
        };
        var import = await backends.ResolveImporterAsync(type, StoreKit.Attributes(attributes, store.Host), context, default);
        var layers = (await import.ReadAsync(StoreKit.Progress(), default))[0].SelectMany(n => n.Results).Single().Layers;
        await using var blob = await layers.Provider.OpenAsync(layers.Descriptors[0], offset, default);
        using var copy = new MemoryStream();
        await blob.CopyToAsync(copy);
        Assert.Equal(bytes[offset..], copy.ToArray());
        // A connection that breaks may take bytes with it that were on their way.
        Assert.True(fault == "abort" ? ranges.Count >= 3 : ranges.Count == 3, string.Join(", ", ranges));
        Assert.Equal(offset == 0 ? "" : "bytes=100-", ranges[0]);
        Assert.Matches("^bytes=[0-9]+-$", ranges[2]);
    }

    [Fact]
    public async Task A_download_that_always_breaks_at_the_same_byte_is_given_up()
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, _) = await StoreKit.CacheAsync(1000);
        var context = StoreKit.Context(time: new ImpatientTime());
        var backends = CacheBackendRegistry.WithBuiltIns();
        await (await backends.ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), context, default)).WriteAsync(cache, StoreKit.Progress(), default);
        store.Before = async http =>
        {
            if (!http.Request.Path.Value!.Contains("blobs", StringComparison.Ordinal))
                return false;
            http.Response.ContentLength = 0;
            if (http.Request.Headers.Range.Count > 0)
                http.Response.Headers.ContentRange = "bytes 0-0/0";
            await http.Response.CompleteAsync();
            return true;
        };
        var import = await backends.ResolveImporterAsync("s3", StoreKit.Attributes(S3, store.Host), context, default);
        var layers = (await import.ReadAsync(StoreKit.Progress(), default))[0].SelectMany(n => n.Results).Single().Layers;
        await using var blob = await layers.Provider.OpenAsync(layers.Descriptors[0], 0, default);
        var thrown = await Assert.ThrowsAsync<TransferException>(async () => await blob.ReadExactlyAsync(new byte[1000]));
        Assert.Equal("unexpected EOF at byte 0 of 1000", thrown.Message);
        Assert.Equal(4, store.Requests.Count(r => r.Contains("GetObject", StringComparison.Ordinal) && r.Contains("blobs", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_store_that_falls_silent_is_given_up_after_the_timeout()
    {
        await using var store = await MemoryStore.StartAsync();
        var time = new ImpatientTime();
        store.Before = async context =>
        {
            if (context.Request.Method != "PUT")
                return false;
            // The minute and a half goes by while the client waits for the answer.
            for (; !context.RequestAborted.IsCancellationRequested; await Task.Delay(10))
                time.EndSilence();
            return true;
        };
        var (cache, _) = await StoreKit.CacheAsync(10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(
            "s3", StoreKit.Attributes(S3 + ",timeout=1m30s", store.Host), StoreKit.Context(time: time), default);
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.EndsWith("timed out: nothing came for 90s", thrown.Message, StringComparison.Ordinal);
        Assert.Contains("operation error S3: PutObject, exceeded maximum number of attempts, 3, request send failed, Put ", thrown.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_that_nobody_listens_on_is_named()
    {
        var (cache, _) = await StoreKit.CacheAsync(10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(
            "s3", StoreKit.Attributes(S3, "127.0.0.1:1"), StoreKit.Context(time: new ImpatientTime()), default);
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.Equal(
            $"failed to check file presence in cache: operation error S3: HeadObject, exceeded maximum number of attempts, 3, request send failed, Head \"http://127.0.0.1:1/bkt/blobs/sha256%3A{cache.Blobs.Keys.Single().Hex}\": connect: connection refused",
            thrown.Message);
    }

    [Theory]
    [InlineData("s3", S3)]
    [InlineData("azblob", Azure)]
    public async Task A_source_that_fails_is_told_as_such_and_not_repeated(string type, string attributes)
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, blobs) = await StoreKit.CacheAsync(10);
        var digest = blobs.Blobs.Keys.Single();
        blobs.Blobs.Clear();
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(type, StoreKit.Attributes(attributes, store.Host), StoreKit.Context(), default);
        var thrown = await Assert.ThrowsAnyAsync<Exception>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.Contains(new BlobNotFoundException(digest).Message, thrown.Message, StringComparison.Ordinal);
        if (type == "s3")
            Assert.StartsWith("error reading layer blob from provider: ", thrown.Message, StringComparison.Ordinal);
        Assert.True(store.Requests.Count(r => r.StartsWith("PUT", StringComparison.Ordinal) && !r.Contains("restype", StringComparison.Ordinal)) <= 1);
        Assert.Empty(store.Objects);
    }

    [Fact]
    public async Task A_large_object_goes_in_parts_and_reports_its_bytes()
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, blobs) = await StoreKit.CacheAsync(12_000_001);
        var progress = new SilentProgress();
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), StoreKit.Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(progress), default);
        var (digest, bytes) = blobs.Blobs.Single();
        Assert.Equal(bytes, store.Objects["/bkt/blobs/sha256%3A" + digest.Hex]);
        Assert.Equal(3, store.Requests.Count(r => r.Contains("partNumber=", StringComparison.Ordinal) && r.Contains("uploadId=U%2F1&", StringComparison.Ordinal)));
        var last = progress.Statuses.Last(s => s.Id == "writing layer " + digest);
        Assert.Equal((12_000_001, 12_000_001, true), (last.Current, last.Total, last.Completed is not null));
    }

    [Fact]
    public async Task A_large_blob_goes_in_blocks_in_their_order()
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, blobs) = await StoreKit.CacheAsync((64 << 20) + 5);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("azblob", StoreKit.Attributes(Azure, store.Host), StoreKit.Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(), default);
        var (digest, bytes) = blobs.Blobs.Single();
        Assert.True(bytes.AsSpan().SequenceEqual(store.Objects["/az/buildkit-cache/blobs%2Fsha256:" + digest.Hex]));
        Assert.Equal(3, store.Requests.Count(r => r.EndsWith("&comp=block", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task An_old_object_of_5_GiB_and_more_is_touched_in_pieces()
    {
        const long size = (6L << 30) + 7;
        await using var store = await MemoryStore.StartAsync();
        var copied = new System.Collections.Concurrent.ConcurrentQueue<string>();
        store.Before = async context =>
        {
            var isPart = context.Request.Query.ContainsKey("partNumber");
            if (context.Request.Method == "HEAD")
            {
                context.Response.ContentLength = size;
                context.Response.Headers.LastModified = DateTimeOffset.UtcNow.AddDays(-2).ToString("R");
                return true;
            }
            if (!isPart)
                return false;
            var headers = context.Request.Headers;
            copied.Enqueue($"{context.Request.QueryString} {headers["x-amz-copy-source"]} {headers["x-amz-copy-source-range"]}");
            await context.Response.WriteAsync($"<CopyPartResult><ETag>&quot;c{context.Request.Query["partNumber"]}&quot;</ETag></CopyPartResult>");
            return true;
        };
        var (cache, _) = await StoreKit.CacheAsync(10);
        var hex = cache.Blobs.Keys.Single().Hex;
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), StoreKit.Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(), default);
        Assert.Equal(
            [
                $"?partNumber=1&uploadId=U%2F1&x-id=UploadPartCopy bkt/blobs/sha256:{hex} bytes=0-5368709119",
                $"?partNumber=2&uploadId=U%2F1&x-id=UploadPartCopy bkt/blobs/sha256:{hex} bytes=5368709120-{size - 1}",
            ],
            copied);
        Assert.Contains(store.Requests, r => r == $"POST /bkt/blobs/sha256%3A{hex}?uploadId=U%2F1");
    }

    [Theory]
    [InlineData(",upload_parallelism=1", 1, 1)]
    [InlineData(",upload_parallelism=3", 2, 3)]
    [InlineData("", 2, 4)]
    public async Task Layers_go_as_many_at_once_as_asked(string more, int least, int most)
    {
        await using var store = await MemoryStore.StartAsync();
        var (now, seen) = (0, 0L);
        store.Before = async context =>
        {
            InterlockedMax(ref seen, Interlocked.Increment(ref now));
            await Task.Delay(50);
            Interlocked.Decrement(ref now);
            return false;
        };
        var (cache, blobs) = await StoreKit.CacheAsync(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3 + more, store.Host), StoreKit.Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(), default);
        Assert.Equal(blobs.Blobs.Count + 1, store.Objects.Count);
        Assert.InRange(seen, least, most);
    }

    [Fact]
    public async Task An_object_that_was_written_in_part_is_written_again()
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, blobs) = await StoreKit.CacheAsync(1000);
        var path = $"/bkt/blobs/sha256%3A{blobs.Blobs.Keys.Single().Hex}";
        store.Objects[path] = new byte[10];
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), StoreKit.Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(), default);
        Assert.Equal(blobs.Blobs.Values.Single(), store.Objects[path]);
    }

    [Fact]
    public async Task Keys_that_end_during_an_upload_are_read_again()
    {
        await using var store = await MemoryStore.StartAsync();
        var home = Directory.CreateTempSubdirectory("aws-");
        try
        {
            void Write(string token)
            {
                // Three uploads at once: none may read a file that is half there.
                var file = Path.Combine(home.FullName, Guid.NewGuid().ToString("N"));
                File.WriteAllText(file, $"[default]\naws_access_key_id = AK\naws_secret_access_key = SK\naws_session_token = {token}\n");
                File.Move(file, Path.Combine(home.FullName, "credentials"), overwrite: true);
            }
            Write("old");
            store.Before = async context =>
            {
                if (context.Request.Headers["x-amz-security-token"] != "old" || context.Request.Method != "PUT")
                    return false;
                Write("new");
                context.Status(400);
                await context.Response.WriteAsync("<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>");
                return true;
            };
            var environment = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["AWS_SHARED_CREDENTIALS_FILE"] = Path.Combine(home.FullName, "credentials"),
                ["AWS_EC2_METADATA_DISABLED"] = "true",
            };
            var (cache, _) = await StoreKit.CacheAsync(1000, 2000, 3000);
            var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(
                "s3", StoreKit.Attributes("endpoint_url=http://@,use_path_style=1,bucket=bkt,region=r", store.Host), StoreKit.Context(environment, new ImpatientTime()), default);
            await export.WriteAsync(cache, StoreKit.Progress(), default);
            Assert.Equal(4, store.Objects.Count);
            Assert.EndsWith(" new", store.Authorizations.Last(), StringComparison.Ordinal);
        }
        finally
        {
            home.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_failed_upload_in_parts_is_taken_back()
    {
        await using var store = await MemoryStore.StartAsync();
        store.Before = context =>
        {
            if (context.Request.Query["partNumber"] != "2")
                return Task.FromResult(false);
            context.Status(400);
            return Task.FromResult(true);
        };
        var (cache, _) = await StoreKit.CacheAsync(12_000_001);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), StoreKit.Context(), default);
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.StartsWith("error writing layer blob: operation error S3: UploadPart, https response error StatusCode: 400", thrown.Message, StringComparison.Ordinal);
        Assert.Contains(store.Requests, r => r.StartsWith("DELETE ", StringComparison.Ordinal) && r.EndsWith("?uploadId=U%2F1&x-id=AbortMultipartUpload", StringComparison.Ordinal));
        Assert.Empty(store.Objects);
    }

    [Fact]
    public async Task An_error_inside_a_successful_answer_is_an_error()
    {
        await using var store = await MemoryStore.StartAsync();
        store.Before = async context =>
        {
            if (!context.Request.Query.ContainsKey("uploadId") || context.Request.Method != "POST")
                return false;
            await context.Response.WriteAsync("<?xml version=\"1.0\"?>\n<Error><Code>InvalidPart</Code><Message>gone</Message></Error>");
            return true;
        };
        var (cache, _) = await StoreKit.CacheAsync(6_000_000);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), StoreKit.Context(), default);
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => export.WriteAsync(cache, StoreKit.Progress(), default));
        Assert.Equal("error writing layer blob: operation error S3: CompleteMultipartUpload, api error InvalidPart: gone", thrown.Message);
    }

    [Theory]
    [InlineData(10L, 4L, 100, "1:0+4 2:4+4 3:8+2")]
    [InlineData(8L, 4L, 100, "1:0+4 2:4+4")]
    [InlineData(0L, 4L, 100, "")]
    [InlineData(10L, 1L, 3, "1:0+4 2:4+4 3:8+2")]
    public void A_blob_is_cut_into_no_more_parts_than_the_store_takes(long size, long part, int most, string parts) =>
        Assert.Equal(parts, string.Join(' ', TransferPart.Cut(size, part, most).Select(p => $"{p.Number}:{p.Offset}+{p.Size}")));

    [Fact]
    public async Task Parts_in_memory_never_exceed_their_room()
    {
        var buffers = new PartBuffers(8 << 20);
        var (held, most) = (0L, 0L);
        async Task UploadAsync(long size)
        {
            await Parallel.ForEachAsync(buffers.ReadAsync(new MemoryStream(new byte[size]), TransferPart.Cut(size, 3 << 20, 100), default), new ParallelOptions { MaxDegreeOfParallelism = 5 }, async (part, token) =>
            {
                using (part)
                {
                    InterlockedMax(ref most, Interlocked.Add(ref held, part.Part.Size));
                    await Task.Delay(5, token);
                    Interlocked.Add(ref held, -part.Part.Size);
                }
            });
        }
        await Task.WhenAll(UploadAsync(20 << 20), UploadAsync(20 << 20), UploadAsync(20 << 20));
        Assert.InRange(most, 3 << 20, 8 << 20);
        // A part larger than the room still goes, alone.
        using var large = await buffers.RentAsync(new TransferPart(1, 0, 20 << 20), default);
        Assert.Equal(20 << 20, large.Memory.Length);
        using var stop = new CancellationTokenSource();
        var waiting = buffers.RentAsync(new TransferPart(1, 0, 1), stop.Token);
        Assert.False(waiting.IsCompleted);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
    }

    [Fact]
    public void Waits_double_with_chance_and_end_at_the_longest()
    {
        var policy = new TransferPolicy(9, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(1));
        var time = new ImpatientTime();
        for (var attempt = 1; attempt <= 5; attempt++)
            _ = policy.PauseAsync(attempt, null, time, default);
        Assert.Collection(
            time.Waits,
            w => Assert.InRange(w.TotalSeconds, 0.5, 1), w => Assert.InRange(w.TotalSeconds, 1, 2), w => Assert.InRange(w.TotalSeconds, 2, 4),
            w => Assert.InRange(w.TotalSeconds, 2.5, 5), w => Assert.InRange(w.TotalSeconds, 2.5, 5));
    }

    private static void InterlockedMax(ref long target, long value)
    {
        for (var seen = Volatile.Read(ref target); seen < value; seen = Volatile.Read(ref target))
        {
            if (Interlocked.CompareExchange(ref target, value, seen) == seen)
                return;
        }
    }

    /// <summary>A clock on which waits between attempts are over at once, while limits on silence end when the test says so.</summary>
    private sealed class ImpatientTime : TimeProvider
    {
        private readonly System.Collections.Concurrent.ConcurrentDictionary<SilenceTimer, bool> _silent = new();

        public System.Collections.Concurrent.ConcurrentQueue<TimeSpan> Waits { get; } = new();

        public void EndSilence()
        {
            foreach (var timer in _silent.Keys)
                timer.Fire();
        }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime >= TransferPolicy.Default.Silence || dueTime == Timeout.InfiniteTimeSpan)
            {
                var timer = new SilenceTimer(this, () => callback(state)) { IsArmed = dueTime != Timeout.InfiniteTimeSpan };
                _silent[timer] = true;
                return timer;
            }
            Waits.Enqueue(dueTime);
            return System.CreateTimer(callback, state, TimeSpan.Zero, period);
        }

        private sealed class SilenceTimer(ImpatientTime time, Action callback) : ITimer
        {
            private volatile bool _armed;

            public bool IsArmed
            {
                set => _armed = value;
            }

            public void Fire()
            {
                if (_armed)
                    callback();
            }

            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                _armed = dueTime != Timeout.InfiniteTimeSpan;
                return true;
            }

            public void Dispose() => time._silent.TryRemove(this, out _);

            public ValueTask DisposeAsync()
            {
                Dispose();
                return ValueTask.CompletedTask;
            }
        }
    }
}
