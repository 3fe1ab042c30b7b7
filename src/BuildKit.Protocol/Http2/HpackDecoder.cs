using System.Buffers;
using System.Text;

namespace BuildKit.Protocol.Http2;

/// <summary>Decodes header blocks of one connection, in order (RFC 7541).</summary>
/// <param name="maxListSize">Largest header list accepted, in bytes as HPACK counts them.</param>
internal sealed class HpackDecoder(long maxListSize)
{
    /// <summary>The dynamic table size we allow the peer (the protocol's default, never changed).</summary>
    public const int TableSize = 4096;

    private readonly HpackTable _table = new(TableSize);

    /// <summary>Decodes one complete block.</summary>
    /// <exception cref="Http2ProtocolException">The block is malformed or the list too large.</exception>
    public List<HeaderField> Decode(ReadOnlySpan<byte> block)
    {
        var fields = new List<HeaderField>();
        long size = 0;
        var position = 0;
        while (position < block.Length)
        {
            var first = block[position];
            HeaderField field;
            if ((first & 0x80) != 0)
            {
                field = Entry(Integer(block, ref position, 7));
            }
            else if ((first & 0xe0) == 0x20)
            {
                if (fields.Count > 0)
                    throw Malformed("table size update after the first field");
                var newSize = Integer(block, ref position, 5);
                if (newSize > TableSize)
                    throw Malformed($"table size {newSize} exceeds {TableSize}");
                _table.Resize(newSize);
                continue;
            }
            else
            {
                var indexed = (first & 0xc0) == 0x40;
                var index = Integer(block, ref position, indexed ? 6 : 4);
                var name = index == 0 ? String(block, ref position) : Entry(index).Name;
                field = new(name, String(block, ref position));
                if (indexed)
                    _table.Add(field);
            }

            size += field.Size;
            if (size > maxListSize)
                throw new Http2ProtocolException(
                    Http2ErrorCode.EnhanceYourCalm, $"header list is larger than {maxListSize} bytes");
            fields.Add(field);
        }

        return fields;
    }

    private static long Integer(ReadOnlySpan<byte> block, ref int position, int prefixBits)
    {
        var mask = (1 << prefixBits) - 1;
        long value = block[position++] & mask;
        if (value < mask)
            return value;
        for (var shift = 0; shift <= 28; shift += 7)
        {
            if (position >= block.Length)
                throw Malformed("truncated integer");
            var b = block[position++];
            value += (long)(b & 0x7f) << shift;
            if (b < 0x80)
                return value;
        }

        throw Malformed("integer is too large");
    }

    private static string String(ReadOnlySpan<byte> block, ref int position)
    {
        if (position >= block.Length)
            throw Malformed("truncated string");
        var huffman = (block[position] & 0x80) != 0;
        var length = Integer(block, ref position, 7);
        if (length > block.Length - position)
            throw Malformed("string exceeds its block");
        var bytes = block.Slice(position, (int)length);
        position += (int)length;
        if (!huffman)
            return Encoding.UTF8.GetString(bytes);
        var rented = ArrayPool<byte>.Shared.Rent((int)((length * 8 / 5) + 1));
        try
        {
            return Encoding.UTF8.GetString(rented, 0, HuffmanCode.Decode(bytes, rented));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private static Http2ProtocolException Malformed(string what) =>
        new(Http2ErrorCode.CompressionError, $"header block: {what}");

    private HeaderField Entry(long index) =>
        _table.TryGet(index, out var field) ? field : throw Malformed($"no table entry {index}");
}
