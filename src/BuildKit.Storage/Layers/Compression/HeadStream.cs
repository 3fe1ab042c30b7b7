using BuildKit.Oci;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>The first bytes of a stream, which stays open.</summary>
internal sealed class HeadStream(Stream source, long length) : ForwardStream(FileAccess.Read)
{
    private long _left = length;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await source.ReadAsync(buffer[..(int)Math.Min(buffer.Length, _left)], cancellationToken).ConfigureAwait(false);
        _left -= read;
        return read;
    }

    public override int Read(Span<byte> buffer)
    {
        var read = source.Read(buffer[..(int)Math.Min(buffer.Length, _left)]);
        _left -= read;
        return read;
    }
}
