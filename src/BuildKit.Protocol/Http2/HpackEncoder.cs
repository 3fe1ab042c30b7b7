using System.Buffers;
using System.Text;

namespace BuildKit.Protocol.Http2;

/// <summary>Encodes header blocks of one connection; blocks must be sent in the order they were encoded.</summary>
internal sealed class HpackEncoder
{
    // More would only make the lookup slower: what repeats in our calls fits.
    private const int TableLimit = 4096;

    private readonly HpackTable _table = new(TableLimit);
    private long? _announce;

    /// <summary>Takes the peer's SETTINGS_HEADER_TABLE_SIZE.</summary>
    public void SetPeerTableSize(long size)
    {
        var newSize = Math.Min(size, TableLimit);
        if (newSize == _table.MaxSize)
            return;
        _table.Resize(newSize);
        _announce = newSize;
    }

    /// <summary>Starts a block; must be called before its first field.</summary>
    public void Begin(ArrayBufferWriter<byte> output)
    {
        if (_announce is not { } size)
            return;
        Integer(output, 0x20, 5, size);
        _announce = null;
    }

    /// <summary>Appends a field. <paramref name="index"/> false keeps it out of the dynamic table.</summary>
    public void Field(ArrayBufferWriter<byte> output, string name, string value, bool index)
    {
        var found = _table.Find(name, value, out var exact);
        if (exact)
        {
            Integer(output, 0x80, 7, found);
            return;
        }

        if (index)
            Integer(output, 0x40, 6, found);
        else
            Integer(output, 0, 4, found);
        if (found == 0)
            String(output, name);
        String(output, value);
        if (index)
            _table.Add(new(name, value));
    }

    private static void Integer(ArrayBufferWriter<byte> output, byte flags, int prefixBits, long value)
    {
        var span = output.GetSpan(12);
        var mask = (1 << prefixBits) - 1;
        if (value < mask)
        {
            span[0] = (byte)(flags | (byte)value);
            output.Advance(1);
            return;
        }

        span[0] = (byte)(flags | mask);
        var length = 1;
        for (value -= mask; value >= 0x80; value >>= 7)
            span[length++] = (byte)(value | 0x80);
        span[length++] = (byte)value;
        output.Advance(length);
    }

    private static void String(ArrayBufferWriter<byte> output, string text)
    {
        var rented = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(text.Length));
        var bytes = rented.AsSpan(0, Encoding.UTF8.GetBytes(text, rented));
        var encoded = HuffmanCode.EncodedLength(bytes);
        if (encoded < bytes.Length)
        {
            Integer(output, 0x80, 7, encoded);
            HuffmanCode.Encode(bytes, output.GetSpan(encoded)[..encoded]);
            output.Advance(encoded);
        }
        else
        {
            Integer(output, 0, 7, bytes.Length);
            output.Write(bytes);
        }

        ArrayPool<byte>.Shared.Return(rented);
    }
}
