namespace BuildKit.Protocol.Http2;

/// <summary>
/// The Huffman code of HPACK (RFC 7541 appendix B). The code is canonical, so the lengths of the 256 byte
/// codes (and 30 bits for the end mark) say everything.
/// </summary>
internal static class HuffmanCode
{
    private const int MaxLength = 30;
    private const int EndOfString = 256;

    private static readonly uint[] Codes = new uint[257];
    private static readonly uint[] FirstCode = new uint[MaxLength + 2];
    private static readonly int[] FirstIndex = new int[MaxLength + 2];
    private static readonly int[] Count = new int[MaxLength + 2];
    private static readonly short[] Symbols = new short[257];

    static HuffmanCode()
    {
        uint code = 0;
        var index = 0;
        for (var length = 1; length <= MaxLength; length++)
        {
            code <<= 1;
            FirstCode[length] = code;
            FirstIndex[length] = index;
            for (var symbol = 0; symbol <= EndOfString; symbol++)
            {
                if (LengthOf(symbol) != length)
                    continue;
                Codes[symbol] = code++;
                Symbols[index++] = (short)symbol;
                Count[length]++;
            }
        }
    }

    private static ReadOnlySpan<byte> Lengths =>
    [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
        28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
        5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
        13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
        6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
        24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
        21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
        19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    ];

    /// <summary>Length in bytes of the encoded form.</summary>
    public static int EncodedLength(ReadOnlySpan<byte> bytes)
    {
        long bits = 0;
        foreach (var b in bytes)
            bits += Lengths[b];
        return (int)((bits + 7) / 8);
    }

    /// <summary>Encodes into a buffer of exactly <see cref="EncodedLength"/> bytes.</summary>
    public static void Encode(ReadOnlySpan<byte> bytes, Span<byte> output)
    {
        ulong pending = 0;
        var bits = 0;
        var position = 0;
        foreach (var b in bytes)
        {
            pending = (pending << Lengths[b]) | Codes[b];
            bits += Lengths[b];
            while (bits >= 8)
            {
                bits -= 8;
                output[position++] = (byte)(pending >> bits);
            }
        }

        if (bits > 0)
            output[position] = (byte)((pending << (8 - bits)) | (0xffu >> bits));
    }

    /// <summary>Decodes a whole string; the output needs room for 8/5 of the input.</summary>
    /// <returns>Number of bytes written.</returns>
    /// <exception cref="Http2ProtocolException">The end mark occurs or the padding is wrong.</exception>
    public static int Decode(ReadOnlySpan<byte> encoded, Span<byte> output)
    {
        uint code = 0;
        var length = 0;
        var written = 0;
        foreach (var b in encoded)
        {
            for (var bit = 7; bit >= 0; bit--)
            {
                code = (code << 1) | ((uint)(b >> bit) & 1);
                length++;
                if (length > MaxLength)
                    throw new Http2ProtocolException(Http2ErrorCode.CompressionError, "invalid Huffman code");
                var offset = code - FirstCode[length];
                if (code < FirstCode[length] || offset >= Count[length])
                    continue;
                var symbol = Symbols[FirstIndex[length] + (int)offset];
                if (symbol == EndOfString)
                    throw new Http2ProtocolException(Http2ErrorCode.CompressionError, "end mark inside a Huffman string");
                output[written++] = (byte)symbol;
                code = 0;
                length = 0;
            }
        }

        if (length > 7 || code != (1u << length) - 1)
            throw new Http2ProtocolException(Http2ErrorCode.CompressionError, "wrong padding of a Huffman string");
        return written;
    }

    private static int LengthOf(int symbol) => symbol == EndOfString ? MaxLength : Lengths[symbol];
}
