using System.Buffers;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>A piece of a blob.</summary>
/// <param name="Number">Counted from 1.</param>
/// <param name="Offset">First byte.</param>
/// <param name="Size">Size in bytes.</param>
public readonly record struct TransferPart(int Number, long Offset, long Size)
{
    private const int HashBuffer = 128 << 10;

    /// <summary>Cuts a blob into parts of one size (the last may be smaller). The size grows when there would be too many.</summary>
    /// <param name="size">Size of the blob in bytes.</param>
    /// <param name="partSize">Wanted size of a part in bytes.</param>
    /// <param name="mostParts">Most parts the store takes.</param>
    public static IReadOnlyList<TransferPart> Cut(long size, long partSize, int mostParts)
    {
        if (size / partSize >= mostParts)
            partSize = (size / mostParts) + 1;
        List<TransferPart> parts = [];
        for (var offset = 0L; offset < size; offset += partSize)
            parts.Add(new TransferPart(parts.Count + 1, offset, Math.Min(partSize, size - offset)));
        return parts;
    }

    /// <summary>The part as a request's body that is read when it is sent, with the digest of its bytes: it is read twice, but
    /// never held. For blobs that can be opened anywhere at no cost.</summary>
    /// <param name="open">Opens the blob at an offset.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public async Task<StoreBody> ToBodyAsync(Func<long, CancellationToken, ValueTask<Stream>> open, CancellationToken cancellationToken)
    {
        var offset = Offset;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = ArrayPool<byte>.Shared.Rent(HashBuffer);
        try
        {
            var source = await open(offset, cancellationToken).ConfigureAwait(false);
            await using (source.ConfigureAwait(false))
            {
                for (var left = Size; left > 0;)
                {
                    var count = await source.ReadAsync(buffer.AsMemory(0, (int)Math.Min(left, HashBuffer)), cancellationToken).ConfigureAwait(false);
                    if (count == 0)
                        throw new EndOfStreamException($"unexpected size {offset + Size - left}, expected at least {offset + Size}");
                    hash.AppendData(buffer, 0, count);
                    left -= count;
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
        return new StoreBody(Size, token => open(offset, token), Convert.ToHexStringLower(hash.GetHashAndReset()));
    }
}

/// <summary>Memory for parts that must be held while they are sent, shared by all uploads of an export: however large the
/// layers are and however many go at once, no more than this is used (but one part always fits).</summary>
public sealed class PartBuffers
{
    private const int Unit = 1 << 20;

    private readonly SemaphoreSlim _turn = new(1);
    private readonly SemaphoreSlim _free;
    private readonly int _units;

    /// <summary>Buffers of so many bytes in all.</summary>
    public PartBuffers(long bytes) => _free = new SemaphoreSlim(_units = (int)Math.Max(1, bytes / Unit));

    /// <summary>Waits until there is room for a part; disposing gives it back.</summary>
    public async Task<PartBuffer> RentAsync(TransferPart part, CancellationToken cancellationToken)
    {
        var wanted = (int)Math.Clamp((part.Size + Unit - 1) / Unit, 1, _units);
        var taken = 0;
        // One at a time: two who each hold half of what they need would wait for ever.
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            for (; taken < wanted; taken++)
                await _free.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            if (taken > 0)
                _free.Release(taken);
            throw;
        }
        finally
        {
            _turn.Release();
        }
        return new PartBuffer(part, ArrayPool<byte>.Shared.Rent((int)part.Size), () => _free.Release(wanted));
    }

    /// <summary>Reads the parts of a blob one after another, in order, as room comes free. Who takes a part disposes it.</summary>
    /// <param name="source">The blob at its first byte.</param>
    /// <param name="parts">Its parts.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public async IAsyncEnumerable<PartBuffer> ReadAsync(
        Stream source, IReadOnlyList<TransferPart> parts, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        foreach (var part in parts)
        {
            var buffer = await RentAsync(part, cancellationToken).ConfigureAwait(false);
            try
            {
                await source.ReadExactlyAsync(buffer.Memory, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                buffer.Dispose();
                throw;
            }
            yield return buffer;
        }
    }
}

/// <summary>A part in memory.</summary>
public sealed class PartBuffer : IDisposable
{
    private readonly Action _release;
    private byte[]? _bytes;

    internal PartBuffer(TransferPart part, byte[] bytes, Action release) => (Part, _bytes, _release) = (part, bytes, release);

    /// <summary>Which part.</summary>
    public TransferPart Part { get; }

    /// <summary>Its bytes.</summary>
    public Memory<byte> Memory => _bytes.AsMemory(0, (int)Part.Size);

    /// <summary>The part as a request's body, which must not be used after the part is disposed.</summary>
    /// <param name="hash">Whether the request is signed over the bytes.</param>
    public StoreBody ToBody(bool hash) => new(
        Part.Size,
        _ => ValueTask.FromResult<Stream>(new MemoryStream(_bytes!, 0, (int)Part.Size, writable: false)),
        hash ? Convert.ToHexStringLower(SHA256.HashData(Memory.Span)) : null);

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _bytes, null) is not { } bytes)
            return;
        ArrayPool<byte>.Shared.Return(bytes);
        _release();
    }
}
