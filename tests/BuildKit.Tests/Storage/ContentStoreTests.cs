using System.Text;
using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.Tests.Storage;

public sealed class ContentStoreTests
{
    private static readonly Dictionary<string, string> NoLabels = [];
    private static readonly byte[] Hello = Encoding.UTF8.GetBytes("hello");

    [Fact]
    public async Task A_committed_blob_can_be_read_from_any_offset_with_its_labels()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var digest = await WriteAsync(fixture, "a", Hello, new() { ["k"] = "v" });
        Assert.Equal(Digest.Sha256(Hello), digest);
        await using var stream = await fixture.Root.Content.OpenAsync(new Descriptor("x", digest, 5), 2, default);
        Assert.Equal("llo", await new StreamReader(stream).ReadToEndAsync());
        var info = await fixture.Root.Content.GetInfoAsync(digest, default);
        Assert.Equal(5, info!.Size);
        Assert.Equal("v", info.Labels["k"]);
    }

    [Fact]
    public async Task An_empty_label_value_removes_the_label()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var digest = await WriteAsync(fixture, "a", Hello, new() { ["k"] = "v", ["l"] = "w" });
        await fixture.Root.Content.UpdateLabelsAsync(digest, new Dictionary<string, string> { ["k"] = "" }, default);
        Assert.Equal(["l"], (await fixture.Root.Content.GetInfoAsync(digest, default))!.Labels.Keys);
    }

    [Fact]
    public async Task Bytes_with_another_digest_or_size_never_become_a_blob()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var store = fixture.Root.Content;
        var wrong = Digest.Sha256("other");
        await using (var writer = await store.OpenWriterAsync("a", default))
        {
            await writer.WriteAsync(Hello, default);
            await Assert.ThrowsAsync<BlobVerificationException>(async () => await writer.CommitAsync(null, wrong, NoLabels, default));
        }

        await using (var writer = await store.OpenWriterAsync("a", default))
        {
            Assert.Equal(0, writer.Offset);
            await writer.WriteAsync(Hello, default);
            await Assert.ThrowsAsync<BlobVerificationException>(async () => await writer.CommitAsync(4, Digest.Sha256(Hello), NoLabels, default));
        }

        await Assert.ThrowsAsync<BlobNotFoundException>(async () => await store.OpenAsync(Digest.Sha256(Hello), default));
        await Assert.ThrowsAsync<BlobNotFoundException>(async () => await store.OpenAsync(wrong, default));
    }

    [Fact]
    public async Task An_interrupted_ingest_goes_on_where_it_stopped()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using (var writer = await fixture.Root.Content.OpenWriterAsync("a", default))
            await writer.WriteAsync(Hello.AsMemory(0, 3), default);
        await using var resumed = await fixture.Root.Content.OpenWriterAsync("a", default);
        Assert.Equal(3, resumed.Offset);
        await resumed.WriteAsync(Hello.AsMemory(3), default);
        Assert.Equal(Digest.Sha256(Hello), await resumed.CommitAsync(5, Digest.Sha256(Hello), NoLabels, default));
    }

    [Fact]
    public async Task Writers_with_one_reference_take_turns()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var first = await fixture.Root.Content.OpenWriterAsync("a", default);
        var second = fixture.Root.Content.OpenWriterAsync("a", default).AsTask();
        Assert.False(second.IsCompleted);
        await first.WriteAsync(Hello, default);
        await first.CommitAsync(null, null, NoLabels, default);
        await using var writer = await second;
        Assert.Equal(0, writer.Offset);
    }

    [Fact]
    public async Task A_start_sweeps_partial_ingests_files_without_a_row_and_rows_without_their_file()
    {
        var directory = Directory.CreateTempSubdirectory("buildkit-storage").FullName;
        try
        {
            Digest kept, lost;
            string blobs;
            await using (var fixture = await StorageFixture.OpenAsync(directory))
            {
                kept = await WriteAsync(fixture, "a", Hello, []);
                lost = await WriteAsync(fixture, "b", [1], []);
                fixture.Root.Leases.Hold("history", kept, lost);
                await using (var writer = await fixture.Root.Content.OpenWriterAsync("partial", default))
                    await writer.WriteAsync(Hello, default);
                blobs = Path.Combine(fixture.Root.WorkerDirectory, "content", "blobs", "sha256");
            }

            File.Delete(Path.Combine(blobs, lost.Hex));
            File.WriteAllText(Path.Combine(blobs, new string('0', 64)), "unknown");
            await using var again = await StorageFixture.OpenAsync(directory);
            Assert.Equal([kept.Hex], Directory.GetFiles(blobs).Select(f => Path.GetFileName(f)!));
            Assert.Empty(Directory.GetFiles(Path.Combine(again.Root.WorkerDirectory, "content", "ingest")));
            Assert.Null(await again.Root.Content.GetInfoAsync(lost, default));
            Assert.NotNull(await again.Root.Content.GetInfoAsync(kept, default));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task A_fetch_resumes_and_verifies()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.Add("x", Hello, Digest.Sha256(Hello));
        await using (var writer = await fixture.Root.Content.OpenWriterAsync("f", default))
            await writer.WriteAsync(Hello.AsMemory(0, 2), default);
        var offsets = new List<long>();
        await fixture.Root.Content.FetchAsync(provider, layer, "f", NoLabels, offsets.Add, default);
        Assert.True(fixture.Root.Content.Contains(layer.Digest));
        Assert.Equal([5], offsets);
        provider[layer.Digest] = [0, 0, 0, 0, 0];
        await fixture.Root.Content.DeleteAsync(layer.Digest, default);
        await Assert.ThrowsAsync<BlobVerificationException>(() => fixture.Root.Content.FetchAsync(provider, layer, "f", NoLabels, null, default));
    }

    private static async Task<Digest> WriteAsync(StorageFixture fixture, string reference, byte[] bytes, Dictionary<string, string> labels)
    {
        await using var writer = await fixture.Root.Content.OpenWriterAsync(reference, default);
        await writer.WriteAsync(bytes, default);
        return await writer.CommitAsync(bytes.Length, Digest.Sha256(bytes), labels, default);
    }
}
