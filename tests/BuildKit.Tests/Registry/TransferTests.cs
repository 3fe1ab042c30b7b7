using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.Registry.Transfer;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.Registry;

public sealed class TransferTests
{
    private static readonly byte[] Blob = Enumerable.Range(0, 200_000).Select(i => (byte)(i * 7)).ToArray();
    private static readonly Descriptor BlobDescriptor = Descriptor.Of(MediaTypes.OciLayerGzip, Blob);

    private static RegistryRepository Pull(RegistryClient client, string reference, IRegistryCredentials? credentials = null) =>
        client.Open(ImageReference.Parse(reference), RegistryAccess.Pull, credentials ?? StaticRegistryCredentials.Anonymous);

    [Fact]
    public async Task A_broken_download_goes_on_where_it_stopped()
    {
        var ranges = new List<string>();
        await using var stub = await StubServer.StartAsync(async (context, _) =>
        {
            var range = context.Request.Headers.Range.ToString();
            ranges.Add(range);
            var start = range.Length == 0 ? 0 : int.Parse(range["bytes=".Length..^1], System.Globalization.CultureInfo.InvariantCulture);
            if (start > 0)
            {
                context.Status(206);
                context.Response.Headers.ContentRange = $"bytes {start}-{Blob.Length - 1}/{Blob.Length}";
            }
            context.Response.ContentLength = Blob.Length - start;
            if (start == 0)
            {
                await context.Response.Body.WriteAsync(Blob.AsMemory(0, 50_000));
                await context.Response.Body.FlushAsync();
                await Task.Delay(100);
                context.Abort();
                return;
            }
            await context.Response.Body.WriteAsync(Blob.AsMemory(start));
        });
        using var client = new RegistryClient(new RegistryConfig());
        Assert.Equal(Blob, await Pull(client, $"{stub.Host}/a").ReadVerifiedAsync(BlobDescriptor));
        Assert.Equal("", ranges[0]);
        Assert.StartsWith("bytes=", ranges[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_without_ranges_has_its_first_bytes_discarded()
    {
        await using var stub = await StubServer.StartAsync((context, _) => context.Response.Body.WriteAsync(Blob).AsTask());
        using var client = new RegistryClient(new RegistryConfig());
        await using var stream = await Pull(client, $"{stub.Host}/a").OpenAsync(BlobDescriptor, 150_000);
        using var rest = new MemoryStream();
        await stream.CopyToAsync(rest);
        Assert.Equal(Blob[150_000..], rest.ToArray());
    }

    [Fact]
    public async Task A_corrupted_blob_is_detected()
    {
        await using var stub = await StubServer.StartAsync((context, _) => context.Response.Body.WriteAsync(new byte[Blob.Length]).AsTask());
        using var client = new RegistryClient(new RegistryConfig());
        var error = await Assert.ThrowsAsync<InvalidDataException>(() => Pull(client, $"{stub.Host}/a").ReadVerifiedAsync(BlobDescriptor));
        Assert.StartsWith("unexpected commit digest sha256:", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_redirect_to_another_host_carries_no_authorization()
    {
        var leaked = "";
        await using var storage = await StubServer.StartAsync((context, _) =>
        {
            leaked = context.Request.Headers.Authorization.ToString();
            return context.Response.Body.WriteAsync(Blob).AsTask();
        });
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            if (context.Request.Headers.Authorization.Count == 0)
            {
                context.Response.Headers.WWWAuthenticate = "Basic realm=\"x\"";
                context.Status(401);
            }
            else
                context.Response.Redirect($"http://localhost:{storage.Port}/elsewhere", permanent: false, preserveMethod: true);
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var credentials = new StaticRegistryCredentials(host => host == stub.Host ? new RegistryCredential("u", "p") : RegistryCredential.Anonymous);
        Assert.Equal(Blob, await Pull(client, $"{stub.Host}/a", credentials).ReadVerifiedAsync(BlobDescriptor));
        Assert.Equal("", leaked);
        Assert.Equal(["GET /elsewhere"], storage.Requests);
    }

    [Fact]
    public async Task Redirects_without_end_are_stopped()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Response.Redirect("/again");
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var error = await Assert.ThrowsAsync<RegistryException>(() => Pull(client, $"{stub.Host}/a:v1").ResolveAsync());
        Assert.EndsWith("stopped after 10 redirects", error.Message, StringComparison.Ordinal);
        Assert.Equal(10, stub.Requests.Count);
    }

    [Fact]
    public async Task Too_many_requests_are_waited_for_and_repeated_up_to_six_times()
    {
        var answers = 0;
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(429);
            if (++answers == 2)
                context.Response.Headers.RetryAfter = "17";
            return Task.CompletedTask;
        });
        var time = new InstantTime();
        using var client = new RegistryClient(new RegistryConfig(), time);
        var error = await Assert.ThrowsAsync<RegistryStatusException>(() => Pull(client, $"{stub.Host}/a:v1").ResolveAsync());
        Assert.Equal($"unexpected status from HEAD request to http://{stub.Host}/v2/a/manifests/v1: 429 Too Many Requests", error.Message);
        Assert.Equal(6, stub.Requests.Count);
        Assert.Collection(
            time.Waits.Where(wait => wait > TimeSpan.Zero).Select(wait => wait.TotalSeconds),
            wait => Assert.InRange(wait, 1, 1.25), wait => Assert.InRange(wait, 17, 21.25), wait => Assert.InRange(wait, 4, 5),
            wait => Assert.InRange(wait, 8, 10), wait => Assert.InRange(wait, 8, 10));
    }

    [Fact]
    public async Task A_registry_without_head_and_digest_is_asked_by_get_and_the_body_hashed()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            if (context.Request.Method == "HEAD")
            {
                context.Status(405);
                return Task.CompletedTask;
            }
            context.Response.ContentType = MediaTypes.OciIndex;
            return context.Response.WriteAsync("{}");
        });
        using var client = new RegistryClient(new RegistryConfig());
        Assert.Equal(new Descriptor(MediaTypes.OciIndex, Digest.Sha256("{}"), 2), await Pull(client, $"{stub.Host}/a:v1").ResolveAsync());
    }

    [Fact]
    public async Task A_missing_tag_and_a_missing_blob_are_not_found()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(404);
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var repository = Pull(client, $"{stub.Host}/a:v1");
        Assert.Equal($"{stub.Host}/a:v1: not found", (await Assert.ThrowsAsync<RegistryNotFoundException>(() => repository.ResolveAsync())).Message);
        Assert.Equal($"could not fetch content descriptor {BlobDescriptor.Digest} ({BlobDescriptor.MediaType}) from remote: not found",
            (await Assert.ThrowsAsync<RegistryNotFoundException>(() => repository.ReadVerifiedAsync(BlobDescriptor))).Message);
    }

    [Fact]
    public async Task The_message_of_the_server_is_part_of_a_fetch_error()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(403);
            return context.Response.WriteAsync("""{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}""");
        });
        using var client = new RegistryClient(new RegistryConfig());
        var error = await Assert.ThrowsAsync<RegistryStatusException>(() => Pull(client, $"{stub.Host}/a").ReadVerifiedAsync(BlobDescriptor));
        Assert.Equal($"unexpected status code http://{stub.Host}/v2/a/blobs/{BlobDescriptor.Digest}: 403 Forbidden - Server message: denied: requested access to the resource is denied", error.Message);
    }

    [Fact]
    public async Task An_unreachable_registry_is_named_with_its_address()
    {
        var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        var host = listener.LocalEndpoint.ToString();
        listener.Stop();
        using var client = new RegistryClient(new RegistryConfig());
        var error = await Assert.ThrowsAsync<RegistryTransportException>(() => Pull(client, $"{host}/a:v1").ResolveAsync());
        Assert.Equal($"failed to do request: Head \"http://{host}/v2/a/manifests/v1\": dial tcp {host}: connect: connection refused", error.Message);
        Assert.False(error.IsTransient);
    }

    [Fact]
    public async Task Mirrors_are_asked_in_order_and_told_the_registry()
    {
        await using var empty = await StubServer.StartAsync((context, _) =>
        {
            context.Status(404);
            return Task.CompletedTask;
        });
        await using var full = await StubServer.StartAsync((context, _) =>
        {
            context.Response.Headers["Docker-Content-Digest"] = BlobDescriptor.Digest.ToString();
            context.Response.ContentLength = 5;
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig
        {
            Hosts = new Dictionary<string, RegistryHostConfig> { ["docker.io"] = new() { Mirrors = [$"http://{empty.Host}", $"{full.Host}/prox/"] } },
        });
        Assert.Equal(BlobDescriptor.Digest, (await Pull(client, "busybox").ResolveAsync()).Digest);
        Assert.Equal(["HEAD /v2/library/busybox/manifests/latest?ns=docker.io"], empty.Requests);
        Assert.Equal(["HEAD /v2/prox/library/busybox/manifests/latest?ns=docker.io"], full.Requests);
    }

    [Fact]
    public async Task An_insecure_registry_that_speaks_plain_http_is_found_out_and_remembered()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(404);
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/a:v1"), RegistryAccess.Pull, StaticRegistryCredentials.Anonymous, isInsecure: true);
        await Assert.ThrowsAsync<RegistryNotFoundException>(() => repository.ResolveAsync());
        await Assert.ThrowsAsync<RegistryNotFoundException>(() => repository.ResolveAsync());
        Assert.Equal(2, stub.Requests.Count);
    }

    [Fact]
    public async Task Errors_of_the_server_are_retried_after_1_2_and_4_seconds()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(500);
            return Task.CompletedTask;
        });
        var (time, log) = (new InstantTime(), new List<string>());
        using var client = new RegistryClient(new RegistryConfig(), time);
        var repository = Pull(client, $"{stub.Host}/a");
        var error = await Assert.ThrowsAsync<RegistryStatusException>(
            () => repository.Retry.RunAsync(() => repository.ReadVerifiedAsync(BlobDescriptor), log.Add, CancellationToken.None));
        Assert.Equal(4, stub.Requests.Count);
        Assert.Equal(["retrying in 1s\n", "retrying in 2s\n", "retrying in 4s\n"], log.Where(line => line.StartsWith("retrying", StringComparison.Ordinal)));
        Assert.Equal(4, log.Count(line => line == $"error: {error.Message}\n"));
        Assert.Equal([1, 2, 4], time.Waits.Select(wait => (int)wait.TotalSeconds).Where(seconds => seconds > 0));
    }

    [Fact]
    public async Task A_layer_of_a_busy_registry_is_waited_for_as_long_as_it_asks()
    {
        var answers = 0;
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            if (++answers > 2)
                return context.Response.Body.WriteAsync(Blob).AsTask();
            context.Status(503);
            context.Response.Headers.RetryAfter = answers == 1 ? "0" : "30";
            return Task.CompletedTask;
        });
        var time = new InstantTime();
        using var client = new RegistryClient(new RegistryConfig(), time);
        Assert.Equal(Blob, await Pull(client, $"{stub.Host}/a").Persistent.ReadVerifiedAsync(BlobDescriptor));
        Assert.Collection(
            time.Waits.Where(wait => wait > TimeSpan.Zero).Select(wait => wait.TotalSeconds), wait => Assert.InRange(wait, 1, 1.25), wait => Assert.InRange(wait, 30, 37.5));
    }

    [Fact]
    public async Task A_registry_that_falls_silent_is_given_up_and_asked_again()
    {
        var requests = 0;
        await using var stub = await StubServer.StartAsync(async (context, _) =>
        {
            context.Response.ContentLength = Blob.Length;
            if (++requests is 1 or 2)
            {
                if (requests == 2)
                {
                    await context.Response.Body.WriteAsync(Blob.AsMemory(0, 1000));
                    await context.Response.Body.FlushAsync();
                }
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(static _ => { }, TaskScheduler.Default);
                return;
            }
            await context.Response.Body.WriteAsync(Blob);
        });
        using var client = new RegistryClient(new RegistryConfig { FirstRetry = TimeSpan.FromMilliseconds(10) });
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/a"), RegistryAccess.Pull, StaticRegistryCredentials.Anonymous, silence: TimeSpan.FromSeconds(2));
        Assert.Equal(Blob, await repository.Persistent.ReadVerifiedAsync(BlobDescriptor));
        Assert.Equal(3, requests);
    }

    [Fact]
    public async Task A_registry_that_takes_no_upload_is_given_up()
    {
        await using var stub = await StubServer.StartAsync(async (context, _) =>
        {
            if (context.Request.Method == "PUT")
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(static _ => { }, TaskScheduler.Default);
            context.Status(context.Request.Method == "HEAD" ? 404 : 202);
            context.Response.Headers.Location = "/up";
        });
        using var client = new RegistryClient(new RegistryConfig { Silence = TimeSpan.FromSeconds(1) });
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/h/a:v1"), RegistryAccess.Push, StaticRegistryCredentials.Anonymous);
        var error = await Assert.ThrowsAsync<RegistryTransportException>(
            () => repository.Pusher!.PushBlobAsync(BlobDescriptor, _ => ValueTask.FromResult<Stream>(new MemoryStream(Blob))));
        Assert.True(error.IsTransient);
        Assert.EndsWith(": timed out: nothing came for 1s", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("h/a", "x/y,h/c,h/b", "h/b")]
    [InlineData("h/a", "h/a", null)]
    [InlineData("h/x/a", "h/x/c,h/b", "h/x/c")]
    [InlineData("h/a", "", null)]
    public void The_nearest_repository_is_mounted_from(string target, string sources, string? expected) =>
        Assert.Equal(expected, RegistryPusher.MountCandidate(ImageReference.Parse($"127.0.0.1:5000/{target}"),
            new Dictionary<string, string> { ["containerd.io/distribution.source.127.0.0.1"] = sources }));

    [Fact]
    public async Task A_push_sends_blobs_in_one_piece_and_manifests_children_first()
    {
        var stored = new System.Collections.Concurrent.ConcurrentDictionary<string, byte[]>();
        await using var stub = await StubServer.StartAsync(Registry(stored));
        using var client = new RegistryClient(new RegistryConfig());
        var source = new MemoryBlobSource();
        var layer = source.Add(MediaTypes.OciLayerGzip, Blob) with
        {
            Annotations = new Dictionary<string, string> { ["containerd.io/distribution.source.127.0.0.1"] = "demo/other" },
        };
        var config = source.Add(MediaTypes.OciConfig, "{}"u8.ToArray());
        var manifest = source.Add(MediaTypes.OciManifest, new Manifest(MediaTypes.OciManifest, config, [layer, layer]).ToJson());
        var index = source.Add(MediaTypes.OciIndex, new ImageIndex(MediaTypes.OciIndex, [manifest]).ToJson());
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/h/a:v1"), RegistryAccess.Push, StaticRegistryCredentials.Anonymous);
        var sent = 0L;
        await repository.Pusher!.PushImageAsync(index, source, new PushOptions { Progress = (blob, bytes) => sent = blob.Digest == layer.Digest ? bytes : sent });

        Assert.Equal(Blob.Length, sent);
        Assert.Equal(Blob, stored[layer.Digest.ToString()]);
        Assert.Equal(
        [
            $"HEAD /v2/h/a/manifests/{manifest.Digest}", $"PUT /v2/h/a/manifests/{manifest.Digest}", "HEAD /v2/h/a/manifests/v1", "PUT /v2/h/a/manifests/v1",
        ], stub.Requests.Where(request => request.Contains("/manifests/", StringComparison.Ordinal)));
        Assert.Contains($"POST /v2/h/a/blobs/uploads/?mount={layer.Digest}&from=demo/other", stub.Requests);
        Assert.Contains($"PUT /up?a=1&digest={layer.Digest}&z=2", stub.Requests);
        Assert.Equal(2, stub.Requests.Count(request => request.StartsWith("PUT /up", StringComparison.Ordinal)));

        var before = stub.Requests.Count;
        await repository.Pusher!.PushImageAsync(index, source);
        Assert.All(stub.Requests.Skip(before), request => Assert.StartsWith("HEAD ", request, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_registry_that_stores_something_else_is_an_error()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(context.Request.Method == "HEAD" ? 404 : 201);
            context.Response.Headers["Docker-Content-Digest"] = Digest.Sha256("else").ToString();
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/h/a:v1"), RegistryAccess.Push, StaticRegistryCredentials.Anonymous);
        var manifest = Descriptor.Of(MediaTypes.OciManifest, "{}"u8);
        var error = await Assert.ThrowsAsync<RegistryException>(() => repository.Pusher!.PushManifestAsync(manifest, "{}"u8.ToArray(), "v1"));
        Assert.Equal($"got digest {Digest.Sha256("else")}, expected {manifest.Digest}", error.Message);
    }

    private static Func<HttpContext, StubServer, Task> Registry(System.Collections.Concurrent.ConcurrentDictionary<string, byte[]> stored) => async (context, _) =>
    {
        var name = context.Request.Path.Value!.Split('/')[^1];
        if (context.Request.Method == "HEAD")
        {
            context.Status(stored.TryGetValue(name, out var known) ? 200 : 404);
            if (known is not null)
                context.Response.Headers["Docker-Content-Digest"] = Digest.Sha256(known).ToString();
        }
        else if (context.Request.Method == "POST")
        {
            context.Status(202);
            context.Response.Headers.Location = "/up?z=2&a=1";
        }
        else
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            var digest = Digest.Sha256(body.ToArray()).ToString();
            stored[digest] = stored[name] = body.ToArray();
            context.Response.Headers["Docker-Content-Digest"] = digest;
            context.Status(201);
        }
    };
}
