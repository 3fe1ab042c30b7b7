namespace BuildKit.Storage.Refs;

/// <summary>Settings of <see cref="RefStore"/>.</summary>
public sealed record RefStoreOptions
{
    /// <summary>Layers downloaded at the same time, all builds together.</summary>
    public int ParallelDownloads { get; init; } = 6;

    /// <summary>Layers compressed at the same time, all builds together. Each is compressed on all cores; more than a few at once
    /// only take memory.</summary>
    public int ParallelCompressions { get; init; } = Math.Clamp(Environment.ProcessorCount + 1, 3, 8);

    /// <summary>How long a blob that nothing owns stays: the time work in progress has to take it up.</summary>
    public TimeSpan UnownedBlobGrace { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Free bytes of the root's file system; null asks the file system.</summary>
    public Func<long>? FreeBytes { get; init; }
}
