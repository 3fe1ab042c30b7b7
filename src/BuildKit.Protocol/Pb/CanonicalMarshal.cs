using BuildKit.Protocol.Wire;
using Google.Protobuf;

namespace BuildKit.Protocol.Pb;

/// <summary>
/// The byte encoding that op digests are taken of (spec 02 §2): fields in number order with the oneof member
/// last, maps sorted by key bytes with both key and value written, numbers packed. The generated code
/// differs in all three points, so digests must only ever be taken of these bytes.
/// </summary>
public static class CanonicalMarshal
{
    /// <summary>The canonical bytes of an op.</summary>
    public static byte[] ToBytes(Op op) => Rewrite(op.ToByteArray(), PbSchema.Op);

    /// <summary>A definition with sorted maps; its <c>def</c> entries are kept byte for byte.</summary>
    public static byte[] ToBytes(Definition definition) => Rewrite(definition.ToByteArray(), PbSchema.Definition);

    /// <summary>The canonical bytes of a source op.</summary>
    public static byte[] ToBytes(SourceOp source) => Rewrite(source.ToByteArray(), PbSchema.SourceOp);

    /// <summary>Brings a serialized op of any field order into canonical form.</summary>
    /// <exception cref="InvalidDataException">The bytes are not a protobuf message.</exception>
    public static byte[] CanonicalizeOp(ReadOnlyMemory<byte> op) => Rewrite(op, PbSchema.Op);

    private static byte[] Rewrite(ReadOnlyMemory<byte> message, WireMessage type)
    {
        var output = new MemoryStream(message.Length + 16);
        Rewrite(WireFields.Split(message), type, output);
        return output.ToArray();
    }

    private static void Rewrite(List<WireValue> values, WireMessage type, MemoryStream output)
    {
        var lastOneof = 0;
        foreach (var value in values)
            if (type.ByNumber(value.Number) is { Oneof: true })
                lastOneof = value.Number;
        foreach (var field in type.CanonicalOrder)
        {
            if (field.Oneof && field.Number != lastOneof)
                continue;
            if (field.Map)
                WriteMap(values, field, output);
            else if (field.Repeated)
                WriteRepeated(values, field, output);
            else
                WriteSingle(values, field, field.Oneof, output);
        }

        foreach (var value in values)
            if (type.ByNumber(value.Number) is null)
                output.Write(value.Raw.Span);
    }

    private static void WriteSingle(List<WireValue> values, WireField field, bool evenIfDefault, MemoryStream output)
    {
        WireValue? last = null;
        MemoryStream? merged = null;
        foreach (var value in values)
        {
            if (value.Number != field.Number)
                continue;
            if (field.Kind == WireKind.Message && last is { } earlier)
            {
                // A message field that occurs twice is merged, which for bytes means joined.
                merged ??= Copy(earlier.Payload);
                merged.Write(value.Payload.Span);
            }

            last = value;
        }

        if (last is not { } found)
        {
            if (evenIfDefault)
                WriteDefault(field, output);
            return;
        }

        switch (field.Kind)
        {
            case WireKind.Message:
                WireFields.WriteDelimitedField(
                    output, field.Number, Rewrite(merged?.ToArray() ?? found.Payload, field.Type!()));
                break;
            case WireKind.String or WireKind.Bytes:
                if (evenIfDefault || !found.Payload.IsEmpty)
                    WireFields.WriteDelimitedField(output, field.Number, found.Payload.Span);
                break;
            default:
                if (evenIfDefault || found.Varint != 0)
                    WireFields.WriteVarintField(output, field.Number, found.Varint);
                break;
        }
    }

    private static void WriteRepeated(List<WireValue> values, WireField field, MemoryStream output)
    {
        MemoryStream? packed = null;
        foreach (var value in values)
        {
            if (value.Number != field.Number)
                continue;
            switch (field.Kind)
            {
                case WireKind.Message:
                    WireFields.WriteDelimitedField(output, field.Number, Rewrite(value.Payload, field.Type!()));
                    break;
                case WireKind.String or WireKind.Bytes:
                    WireFields.WriteDelimitedField(output, field.Number, value.Payload.Span);
                    break;
                default:
                    packed ??= new MemoryStream();
                    if (!value.Delimited)
                    {
                        WireFields.WriteVarint(packed, value.Varint);
                        break;
                    }

                    for (var position = 0; position < value.Payload.Length;)
                        WireFields.WriteVarint(packed, WireFields.ReadVarint(value.Payload.Span, ref position));
                    break;
            }
        }

        if (packed is { Length: > 0 })
            WireFields.WriteDelimitedField(output, field.Number, packed.ToArray());
    }

    private static void WriteMap(List<WireValue> values, WireField field, MemoryStream output)
    {
        var entries = new SortedDictionary<byte[], List<WireValue>>(KeyOrder.Instance);
        foreach (var value in values)
        {
            if (value.Number != field.Number)
                continue;
            var entry = WireFields.Split(value.Payload);
            var key = Array.Empty<byte>();
            foreach (var part in entry)
                if (part.Number == 1)
                    key = part.Payload.ToArray();
            entries[key] = entry;
        }

        var valueField = new WireField(2, "value", field.Kind, field.Type, field.Values);
        foreach (var (key, entry) in entries)
        {
            var bytes = new MemoryStream();
            WireFields.WriteDelimitedField(bytes, 1, key);
            WriteSingle(entry, valueField, evenIfDefault: true, bytes);
            WireFields.WriteDelimitedField(output, field.Number, bytes.ToArray());
        }
    }

    private static void WriteDefault(WireField field, MemoryStream output)
    {
        if (field.Kind is WireKind.Message or WireKind.String or WireKind.Bytes)
            WireFields.WriteDelimitedField(output, field.Number, []);
        else
            WireFields.WriteVarintField(output, field.Number, 0);
    }

    private static MemoryStream Copy(ReadOnlyMemory<byte> bytes)
    {
        var copy = new MemoryStream();
        copy.Write(bytes.Span);
        return copy;
    }

    private sealed class KeyOrder : IComparer<byte[]>
    {
        public static readonly KeyOrder Instance = new();

        public int Compare(byte[]? x, byte[]? y) => x.AsSpan().SequenceCompareTo(y);
    }
}
