namespace BuildKit.Protocol.Wire;

/// <summary>One field as it stands in a serialized message.</summary>
/// <param name="Number">Field number.</param>
/// <param name="Varint">The value of a varint or fixed-width field.</param>
/// <param name="Payload">The content of a length-delimited field.</param>
/// <param name="Delimited">Whether <paramref name="Payload"/> is the value.</param>
/// <param name="Raw">Tag and value as they were read.</param>
internal readonly record struct WireValue(
    int Number, ulong Varint, ReadOnlyMemory<byte> Payload, bool Delimited, ReadOnlyMemory<byte> Raw);

/// <summary>Splits serialized messages into their fields, and writes fields.</summary>
internal static class WireFields
{
    /// <summary>Reads every field of a message in order. Throws
    /// <see cref="InvalidDataException"/> on malformed bytes.</summary>
    public static List<WireValue> Split(ReadOnlyMemory<byte> message)
    {
        var fields = new List<WireValue>();
        var position = 0;
        while (position < message.Length)
        {
            var start = position;
            var tag = ReadVarint(message.Span, ref position);
            var number = tag >> 3;
            if (number is 0 or > 0x1fffffff)
                throw new InvalidDataException($"protobuf message: field number {number} at offset {start} is out of range");
            ulong varint = 0;
            ReadOnlyMemory<byte> payload = default;
            switch (tag & 7)
            {
                case 0:
                    varint = ReadVarint(message.Span, ref position);
                    break;
                case 1:
                    position = Advance(message.Length, position, 8);
                    break;
                case 2:
                    var length = ReadVarint(message.Span, ref position);
                    var from = position;
                    position = Advance(message.Length, position, length);
                    payload = message[from..position];
                    break;
                case 5:
                    position = Advance(message.Length, position, 4);
                    break;
                default:
                    throw new InvalidDataException(
                        $"protobuf message: wire type {tag & 7} at offset {start} is not supported");
            }

            fields.Add(new((int)number, varint, payload, (tag & 7) == 2, message[start..position]));
        }

        return fields;
    }

    public static ulong ReadVarint(ReadOnlySpan<byte> bytes, ref int position)
    {
        ulong value = 0;
        for (var shift = 0; shift < 70; shift += 7)
        {
            if (position >= bytes.Length)
                throw new InvalidDataException("protobuf message: truncated varint");
            var b = bytes[position++];
            if (shift < 64)
                value |= (ulong)(b & 0x7f) << shift;
            if (b < 0x80)
                return value;
        }

        throw new InvalidDataException("protobuf message: varint longer than 10 bytes");
    }

    public static void WriteVarint(MemoryStream to, ulong value)
    {
        while (value >= 0x80)
        {
            to.WriteByte((byte)(value | 0x80));
            value >>= 7;
        }

        to.WriteByte((byte)value);
    }

    public static void WriteVarintField(MemoryStream to, int number, ulong value)
    {
        WriteVarint(to, (ulong)(uint)number << 3);
        WriteVarint(to, value);
    }

    public static void WriteDelimitedField(MemoryStream to, int number, ReadOnlySpan<byte> value)
    {
        WriteVarint(to, ((ulong)(uint)number << 3) | 2);
        WriteVarint(to, (ulong)value.Length);
        to.Write(value);
    }

    private static int Advance(int length, int position, ulong count)
    {
        if (count > (ulong)(length - position))
            throw new InvalidDataException(
                $"protobuf message: field of {count} bytes at offset {position} exceeds the {length} bytes there are");
        return position + (int)count;
    }
}
