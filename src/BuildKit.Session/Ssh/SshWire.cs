using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace BuildKit.Session.Ssh;

/// <summary>Writes the data types of RFC 4251 §5.</summary>
internal sealed class SshWriter
{
    private readonly ArrayBufferWriter<byte> _bytes = new();

    public SshWriter Byte(byte value)
    {
        _bytes.Write([value]);
        return this;
    }

    public SshWriter Number(uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_bytes.GetSpan(4), value);
        _bytes.Advance(4);
        return this;
    }

    public SshWriter Text(string value) => Bytes(Encoding.ASCII.GetBytes(value));

    public SshWriter Bytes(ReadOnlySpan<byte> value)
    {
        Number((uint)value.Length);
        _bytes.Write(value);
        return this;
    }

    /// <summary>A positive integer given big-endian.</summary>
    public SshWriter Integer(ReadOnlySpan<byte> value)
    {
        value = value.TrimStart((byte)0);
        return value.IsEmpty || value[0] < 0x80 ? Bytes(value) : Bytes([0, .. value]);
    }

    public byte[] ToArray() => _bytes.WrittenSpan.ToArray();
}

/// <summary>Reads the data types of RFC 4251 §5.</summary>
internal ref struct SshReader(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    public readonly bool IsAtEnd => _rest.IsEmpty;

    public byte Byte()
    {
        var value = Take(1)[0];
        return value;
    }

    public uint Number() => BinaryPrimitives.ReadUInt32BigEndian(Take(4));

    public ReadOnlySpan<byte> Bytes()
    {
        var length = Number();
        return length <= (uint)_rest.Length ? Take((int)length) : throw new InvalidDataException("truncated SSH data");
    }

    public string Text() => Encoding.UTF8.GetString(Bytes());

    /// <summary>A positive integer, big-endian, without leading zeros.</summary>
    public byte[] Integer() => Bytes().TrimStart((byte)0).ToArray();

    private ReadOnlySpan<byte> Take(int length)
    {
        if (length > _rest.Length)
            throw new InvalidDataException("truncated SSH data");
        var taken = _rest[..length];
        _rest = _rest[length..];
        return taken;
    }
}
