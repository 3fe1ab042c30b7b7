using System.Security.Cryptography;
using BuildKit.Oci;

namespace BuildKit.Session.FileSync;

/// <summary>What happened to an entry.</summary>
public enum ChangeKind
{
    Add,
    Modify,
    Delete,
}

/// <summary>Hears of every change of a tree that is being received. Calls come one after the other.</summary>
public interface IReceiveObserver
{
    /// <summary>
    /// A SHA-256 that already holds whatever of the entry itself counts for the content hash; the content of a regular
    /// file is added to it. The transfer disposes it.
    /// </summary>
    IncrementalHash StartHash(SyncStat stat);

    /// <summary>
    /// An entry changed on disk. Regular files with content are reported when it is complete, always as
    /// <see cref="ChangeKind.Add"/>; a directory that stays a directory is not reported, nor is what a removed directory held.
    /// </summary>
    /// <param name="kind">What happened.</param>
    /// <param name="path">The entry.</param>
    /// <param name="stat">As the sender described it; null for a deletion.</param>
    /// <param name="digest">Of the hash that <see cref="StartHash"/> began; empty for a deletion.</param>
    void OnChange(ChangeKind kind, string path, SyncStat? stat, Digest digest);
}

/// <summary>How a tree is received.</summary>
public sealed record ReceiveOptions
{
    /// <summary>Whether every entry counts as new and nothing is deleted (output to a client).</summary>
    public bool Merge { get; init; }

    /// <summary>Whether all content is requested, equal or not (<c>local.differ=none</c>).</summary>
    public bool IgnoresExisting { get; init; }

    /// <summary>Changes entries before they are compared and written, for example their owner. The observer sees the original.</summary>
    public Func<SyncStat, SyncStat>? Map { get; init; }

    /// <summary>Hears of changes.</summary>
    public IReceiveObserver? Observer { get; init; }

    /// <summary>Gets the bytes received so far and, once, true at the end.</summary>
    public Action<long, bool>? Progress { get; init; }
}
