using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>A message that is sent as the bytes it was given, well-formed or not.</summary>
internal sealed class RawMessage(byte[] bytes) : IMessage<RawMessage>, IBufferMessage
{
    internal static MessageParser<RawMessage> Parser { get; } = new(() => new RawMessage([]));

    public MessageDescriptor Descriptor => throw new NotSupportedException("bytes have no description");

    public int CalculateSize() => bytes.Length;

    public void WriteTo(CodedOutputStream output) => output.WriteRawMessage(this);

    public void InternalWriteTo(ref WriteContext output)
    {
        foreach (var b in bytes)
            output.WriteRawTag(b);
    }

    public void MergeFrom(CodedInputStream input) => input.ReadRawMessage(this);

    public void InternalMergeFrom(ref ParseContext input)
    {
        while (input.ReadTag() != 0)
            UnknownFieldSet.MergeFieldFrom(null, ref input);
    }

    public void MergeFrom(RawMessage message)
    {
    }

    public RawMessage Clone() => new(bytes);

    public bool Equals(RawMessage? other) => ReferenceEquals(this, other);

    public override bool Equals(object? obj) => ReferenceEquals(this, obj);

    public override int GetHashCode() => bytes.Length;
}
