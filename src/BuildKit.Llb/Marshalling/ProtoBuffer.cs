using System.Text;

namespace BuildKit.Llb.Marshalling;

/// <summary>
/// Writes protobuf wire format in exactly the order it is told, which the generated code cannot: it orders by
/// field number and leaves defaults out of map entries (spec 02 §2).
/// </summary>
internal sealed class ProtoBuffer
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private byte[] _bytes = new byte[256];
    private int _length;

    public byte[] ToArray() => _bytes.AsSpan(0, _length).ToArray();

    public ReadOnlySpan<byte> Written => _bytes.AsSpan(0, _length);

    /// <summary>A varint field; left out when 0 unless forced.</summary>
    public void Int(int field, long value, bool always = false)
    {
        if (value == 0 && !always)
            return;
        Varint((ulong)(field << 3));
        Varint((ulong)value);
    }

    public void Bool(int field, bool value, bool always = false) => Int(field, value ? 1 : 0, always);

    public void String(int field, string value, bool always = false)
    {
        if (value.Length == 0 && !always)
            return;
        int size;
        try
        {
            size = s_strict.GetByteCount(value);
        }
        catch (EncoderFallbackException e)
        {
            throw new LlbException("string field contains invalid UTF-8", e);
        }

        Varint((ulong)(field << 3 | 2));
        Varint((ulong)size);
        Reserve(size);
        _length += s_strict.GetBytes(value, _bytes.AsSpan(_length));
    }

    public void Strings(int field, IEnumerable<string> values)
    {
        foreach (var value in values)
            String(field, value, always: true);
    }

    public void Bytes(int field, ReadOnlySpan<byte> value, bool always = false)
    {
        if (value.IsEmpty && !always)
            return;
        Varint((ulong)(field << 3 | 2));
        Varint((ulong)value.Length);
        Reserve(value.Length);
        value.CopyTo(_bytes.AsSpan(_length));
        _length += value.Length;
    }

    public void Packed(int field, IReadOnlyCollection<int> values)
    {
        if (values.Count == 0)
            return;
        var start = Begin(field);
        foreach (var value in values)
            Varint((ulong)(long)value);
        End(start);
    }

    /// <summary>Opens a sub-message; its length goes in front of it when it is closed with <see cref="End"/>.</summary>
    public int Begin(int field)
    {
        Varint((ulong)(field << 3 | 2));
        return _length;
    }

    public void End(int start)
    {
        var size = _length - start;
        var prefix = 1;
        for (var rest = size >> 7; rest != 0; rest >>= 7)
            prefix++;
        Reserve(prefix);
        _bytes.AsSpan(start, size).CopyTo(_bytes.AsSpan(start + prefix));
        _length = start;
        Varint((ulong)size);
        _length = start + prefix + size;
    }

    private void Varint(ulong value)
    {
        Reserve(10);
        while (value >= 0x80)
        {
            _bytes[_length++] = (byte)(value | 0x80);
            value >>= 7;
        }

        _bytes[_length++] = (byte)value;
    }

    private void Reserve(int count)
    {
        if (_bytes.Length - _length < count)
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _length + count));
    }
}
