using BuildKit.Oci;
using BuildKit.RemoteCache.Import;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.RemoteCache;

/// <summary>How long an import is waited for.</summary>
public sealed class ImportHealthTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(20);

    private static readonly Descriptor Layer = new(MediaTypes.OciLayerGzip, Digest.Sha256("layer"), 3);

    [Fact]
    public async Task A_layer_that_waits_for_its_turn_is_not_lost()
    {
        var health = new ImportHealth("cache", Patience, TimeProvider.System);
        var provider = new SlowProvider();
        var asked = 0;
        bool IsBusy()
        {
            if (++asked == 3)
                provider.Turn.SetResult();
            return true;
        }

        await using var stream = await health.Guard(provider, IsBusy, null).OpenAsync(Layer, 0, default);
        var buffer = new byte[8];
        Assert.Equal(3, await stream.ReadAsync(buffer));
        Assert.Equal("abc"u8.ToArray(), buffer[..3]);
        Assert.False(health.IsDoubtful);
    }

    [Fact]
    public async Task A_silent_import_loses_the_layer_and_is_not_asked_again()
    {
        var health = new ImportHealth("cache", Patience, TimeProvider.System);
        var provider = new SlowProvider();
        var guarded = health.Guard(provider, () => false, null);
        await using var stream = await guarded.OpenAsync(Layer, 0, default);
        var lost = await Assert.ThrowsAsync<LayerLostException>(() => stream.ReadAsync(new byte[8]).AsTask());
        Assert.Equal($"layer {Layer.Digest} of an imported cache cannot be used: no answer within 0.02 s", lost.Message);
        Assert.True(LayerLostException.IsCauseOf(new InvalidOperationException("outer", lost)));
        Assert.Null(await guarded.StatAsync(Layer with { Digest = Digest.Sha256("another") }, default));
        Assert.Equal(0, provider.Stats);
    }

    [Fact]
    public async Task Whoever_gives_up_waiting_loses_nothing()
    {
        var health = new ImportHealth("cache", TimeSpan.FromHours(1), TimeProvider.System);
        var provider = new SlowProvider();
        var guarded = health.Guard(provider, () => false, null);
        await using var stream = await guarded.OpenAsync(Layer, 0, default);
        using var stop = new CancellationTokenSource();
        var reading = stream.ReadAsync(new byte[8], stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await reading);
        Assert.False(health.IsDoubtful);
        Assert.NotNull(await guarded.StatAsync(Layer, default));
    }

    private sealed class SlowProvider : IBlobProvider
    {
        public TaskCompletionSource Turn { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Stats { get; private set; }

        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) => ValueTask.FromResult<Stream>(new Slow(Turn.Task));

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken)
        {
            Stats++;
            return ValueTask.FromResult<Descriptor?>(descriptor);
        }

        private sealed class Slow(Task turn) : MemoryStream("abc"u8.ToArray())
        {
            public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
            {
                await turn;
                return await base.ReadAsync(buffer, cancellationToken);
            }
        }
    }
}
