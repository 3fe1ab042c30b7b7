using System.Text;
using BuildKit.Oci;
using BuildKit.Storage;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Tests.Storage;

/// <summary>A clock that stands still until it is moved.</summary>
internal sealed class ManualClock : TimeProvider
{
    public DateTimeOffset Now { get; set; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public override DateTimeOffset GetUtcNow() => Now;
}

/// <summary>Layers as "the names of the files of the upper directory": enough for the life of records, no root needed.</summary>
internal sealed class ListingLayers : ILayerTools
{
    public int Applied { get; private set; }

    public int Merged { get; private set; }

    public static byte[] Layer(params string[] files) => Encoding.UTF8.GetBytes(string.Concat(files.Select(f => f + "\n")));

    public async Task<MadeLayer> WriteAsync(
        IReadOnlyList<MountSpec> lower, IReadOnlyList<MountSpec> upper, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken)
    {
        var below = lower.SelectMany(Files).ToHashSet(StringComparer.Ordinal);
        var plain = Layer(upper.SelectMany(Files).Where(f => !below.Contains(f)).Order(StringComparer.Ordinal).ToArray());
        return await EncodeAsync(plain, compression, output, cancellationToken);
    }

    public async Task<Digest> ApplyAsync(Stream layer, string mediaType, IReadOnlyList<MountSpec> mounts, CancellationToken cancellationToken)
    {
        Applied++;
        var plain = await DecodeAsync(layer, mediaType, cancellationToken);
        foreach (var file in Encoding.UTF8.GetString(plain).Split('\n', StringSplitOptions.RemoveEmptyEntries))
            await File.WriteAllTextAsync(Path.Combine(mounts[0].Source, file), file, cancellationToken);
        return Digest.Sha256(plain);
    }

    public Task<bool> NeedsConversionAsync(Descriptor layer, IBlobSource blobs, CompressionType wanted, CancellationToken cancellationToken) =>
        Task.FromResult(layer.MediaType != wanted.ToString());

    public async Task<MadeLayer> ConvertAsync(
        Stream layer, string mediaType, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken) =>
        await EncodeAsync(await DecodeAsync(layer, mediaType, cancellationToken), compression, output, cancellationToken);

    public async Task MergeAsync(ISnapshotter snapshotter, string name, IReadOnlyList<SnapshotPair> changes, CancellationToken cancellationToken)
    {
        Merged++;
        var mounts = await snapshotter.PrepareAsync(name + "-key", null, null, cancellationToken);
        foreach (var change in changes)
        {
            var below = change.Lower is null ? [] : Files((await snapshotter.MountsAsync(change.Lower, cancellationToken))[0]);
            var above = change.Upper is null ? [] : Files((await snapshotter.MountsAsync(change.Upper, cancellationToken))[0]);
            foreach (var file in below.Except(above))
                File.Delete(Path.Combine(mounts[0].Source, file));
            foreach (var file in above.Except(below))
                await File.WriteAllTextAsync(Path.Combine(mounts[0].Source, file), file, cancellationToken);
        }

        await snapshotter.CommitAsync(name, name + "-key", null, cancellationToken);
    }

    public static IEnumerable<string> Files(MountSpec mount) => Directory.EnumerateFiles(mount.Source).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal);

    // "Compressed" is the type's name and a line end in front.
    private static async Task<MadeLayer> EncodeAsync(byte[] plain, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken)
    {
        if (compression.Type != CompressionType.Uncompressed)
            await output.WriteAsync(Encoding.UTF8.GetBytes(compression.Type + "\n"), cancellationToken);
        await output.WriteAsync(plain, cancellationToken);
        return new MadeLayer(Digest.Sha256(plain), compression.Type.ToString(), new Dictionary<string, string>());
    }

    public static byte[] Encoded(CompressionType type, byte[] plain) =>
        type == CompressionType.Uncompressed ? plain : [.. Encoding.UTF8.GetBytes(type + "\n"), .. plain];

    private static async Task<byte[]> DecodeAsync(Stream layer, string mediaType, CancellationToken cancellationToken)
    {
        using var memory = new MemoryStream();
        await layer.CopyToAsync(memory, cancellationToken);
        return mediaType == nameof(CompressionType.Uncompressed) ? memory.ToArray() : memory.ToArray()[(mediaType.Length + 1)..];
    }
}

/// <summary>A registry in memory that counts what it is asked for.</summary>
internal sealed class MemoryProvider : IBlobProvider
{
    private readonly Dictionary<Digest, byte[]> _blobs = [];

    public int Opened { get; private set; }

    public TaskCompletionSource? Gate { get; set; }

    public byte[] this[Digest digest]
    {
        get => _blobs[digest];
        set => _blobs[digest] = value;
    }

    /// <summary>Puts a layer in and returns its descriptor.</summary>
    public Descriptor Add(string mediaType, byte[] blob, Digest diffId)
    {
        var digest = Digest.Sha256(blob);
        _blobs[digest] = blob;
        return new Descriptor(mediaType, digest, blob.Length)
        {
            Annotations = new Dictionary<string, string> { ["containerd.io/uncompressed"] = diffId.ToString() },
        };
    }

    /// <summary>A listing layer in one of its forms.</summary>
    public Descriptor AddListing(CompressionType type, params string[] files)
    {
        var plain = ListingLayers.Layer(files);
        return Add(type.ToString(), ListingLayers.Encoded(type, plain), Digest.Sha256(plain));
    }

    public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        Opened++;
        if (Gate is { } gate)
            await gate.Task.WaitAsync(cancellationToken);
        return _blobs.TryGetValue(descriptor.Digest, out var bytes)
            ? new MemoryStream(bytes, (int)offset, bytes.Length - (int)offset, writable: false)
            : throw new BlobNotFoundException(descriptor.Digest);
    }

    public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) =>
        new(_blobs.ContainsKey(descriptor.Digest) ? descriptor : null);

    public RefOptions Options(params Descriptor[] layers) => new()
    {
        Handlers = layers.ToDictionary(l => l.Digest, _ => new DescriptorHandler { Provider = this, Ref = "registry.example/team/app:1" }),
        ImageRef = "registry.example/team/app:1",
    };
}

/// <summary>Storage in a temporary directory, with the native snapshotter and listing layers.</summary>
internal sealed class StorageFixture : IAsyncDisposable
{
    private readonly bool _owns;

    private StorageFixture(string directory, bool owns, StorageRoot root, ManualClock clock, ListingLayers layers)
    {
        Directory = directory;
        _owns = owns;
        Root = root;
        Clock = clock;
        Layers = layers;
    }

    public string Directory { get; }

    public StorageRoot Root { get; }

    public RefStore Refs => Root.Refs;

    public ManualClock Clock { get; }

    public ListingLayers Layers { get; }

    public static async Task<StorageFixture> OpenAsync(string? directory = null, long free = long.MaxValue / 2)
    {
        var clock = new ManualClock();
        var layers = new ListingLayers();
        var owns = directory is null;
        directory ??= System.IO.Directory.CreateTempSubdirectory("buildkit-storage").FullName;
        var options = new StorageOptions
        {
            Snapshotter = "native",
            Time = clock,
            Layers = layers,
            Refs = new RefStoreOptions { FreeBytes = () => free },
        };
        return new StorageFixture(directory, owns, await StorageRoot.OpenAsync(directory, options, CancellationToken.None), clock, layers);
    }

    /// <summary>A record of one file on a parent, committed and kept.</summary>
    public async Task<IImmutableRef> MakeAsync(string file, IImmutableRef? parent = null, string type = "", int size = 0)
    {
        var writable = await Refs.NewAsync(parent, new RefOptions { RecordType = type, Description = file, Retain = true }, CancellationToken.None);
        var mountable = await writable.MountAsync(readOnly: false, CancellationToken.None);
        await using (var lease = await mountable.AcquireAsync(CancellationToken.None))
            await File.WriteAllBytesAsync(Path.Combine(lease.Mounts[0].Source, file), new byte[size]);
        var made = await writable.CommitAsync(CancellationToken.None);
        made.Metadata.Retain = true;
        await made.FinalizeAsync(CancellationToken.None);
        return made;
    }

    public static async Task<string[]> FilesAsync(IRef reference)
    {
        var mountable = await reference.MountAsync(readOnly: true, CancellationToken.None);
        await using var lease = await mountable.AcquireAsync(CancellationToken.None);
        return ListingLayers.Files(lease.Mounts[0]).ToArray();
    }

    public async Task<List<string>> PruneAsync(params PruneOptions[] policies)
    {
        var pruned = new List<string>();
        await Refs.PruneAsync(policies, record => pruned.Add(record.Description), CancellationToken.None);
        return pruned;
    }

    public static PruneOptions Everything { get; } = new([], true, TimeSpan.Zero, 0, 0, 0);

    public async ValueTask DisposeAsync()
    {
        await Root.DisposeAsync();
        if (_owns)
            System.IO.Directory.Delete(Directory, recursive: true);
    }
}
