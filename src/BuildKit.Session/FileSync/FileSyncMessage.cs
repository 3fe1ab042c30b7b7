using BuildKit.Protocol.FsUtil;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace BuildKit.Session.FileSync;

/// <summary>What a packet is (spec 01 §1.5).</summary>
public enum PacketType
{
    /// <summary>An entry of the tree; without one: the end of the entries.</summary>
    Stat = 0,

    /// <summary>The receiver wants the content of an id.</summary>
    Request = 1,

    /// <summary>Content of an id; empty: the end of it.</summary>
    Data = 2,

    /// <summary>All content has arrived.</summary>
    Fin = 3,

    /// <summary>One side failed; the data is the text.</summary>
    Error = 4,
}

/// <summary>
/// A message of a file transfer on the wire: either a Packet of <c>fsutil.types</c>, or a plain BytesMessage, whose
/// field 1 has another wire type. Which of both a FileSend call carries is known only when it runs (spec 01 §5.6),
/// so one type reads either.
/// </summary>
public sealed class FileSyncMessage : IMessage<FileSyncMessage>, IBufferMessage
{
    private const uint TypeTag = (1 << 3) | 0;
    private const uint BytesTag = (1 << 3) | 2;
    private const uint StatTag = (2 << 3) | 2;
    private const uint IdTag = (3 << 3) | 0;
    private const uint DataTag = (4 << 3) | 2;

    private ByteString? _encodedStat;

    /// <summary>Parses a message.</summary>
    public static MessageParser<FileSyncMessage> Parser { get; } = new(static () => new FileSyncMessage());

    /// <summary>What the packet is.</summary>
    public PacketType Type { get; private set; }

    /// <summary>The entry of a <see cref="PacketType.Stat"/> packet, or null at the end.</summary>
    public SyncStat? Stat { get; private set; }

    /// <summary>Which entry a request or data belongs to: its position among the entries sent.</summary>
    public uint Id { get; private set; }

    /// <summary>Content, or the text of an error.</summary>
    public ByteString Data { get; private set; } = ByteString.Empty;

    /// <summary>The bytes of a BytesMessage; null when the message is a packet (an empty BytesMessage looks like the end of the entries).</summary>
    public ByteString? RawBytes { get; private set; }

    MessageDescriptor IMessage.Descriptor => Packet.Descriptor;

    /// <summary>An entry; null says that there are no more.</summary>
    public static FileSyncMessage ForStat(SyncStat? stat) => new()
    {
        Stat = stat,
        _encodedStat = stat is null ? null : UnsafeByteOperations.UnsafeWrap(SyncStatCodec.Encode(stat)),
    };

    /// <summary>A request for the content of an id.</summary>
    public static FileSyncMessage ForRequest(uint id) => new() { Type = PacketType.Request, Id = id };

    /// <summary>A piece of content; the memory must stay unchanged until the message was sent. Empty ends the content.</summary>
    public static FileSyncMessage ForData(uint id, ReadOnlyMemory<byte> data) =>
        new() { Type = PacketType.Data, Id = id, Data = UnsafeByteOperations.UnsafeWrap(data) };

    /// <summary>The end of the transfer.</summary>
    public static FileSyncMessage ForFin() => new() { Type = PacketType.Fin };

    /// <summary>A failure.</summary>
    public static FileSyncMessage ForError(string text) => new() { Type = PacketType.Error, Data = ByteString.CopyFromUtf8(text) };

    /// <summary>A piece of a byte stream; the memory must stay unchanged until the message was sent.</summary>
    public static FileSyncMessage ForBytes(ReadOnlyMemory<byte> bytes) => new() { RawBytes = UnsafeByteOperations.UnsafeWrap(bytes) };

    /// <inheritdoc/>
    public int CalculateSize()
    {
        var size = 0;
        if (RawBytes is { IsEmpty: false })
            size += 1 + CodedOutputStream.ComputeBytesSize(RawBytes);
        if (Type != PacketType.Stat)
            size += 1 + CodedOutputStream.ComputeEnumSize((int)Type);
        if (_encodedStat is not null)
            size += 1 + CodedOutputStream.ComputeBytesSize(_encodedStat);
        if (Id != 0)
            size += 1 + CodedOutputStream.ComputeUInt32Size(Id);
        if (!Data.IsEmpty)
            size += 1 + CodedOutputStream.ComputeBytesSize(Data);
        return size;
    }

    /// <inheritdoc/>
    public void WriteTo(CodedOutputStream output) => output.WriteRawMessage(this);

    /// <inheritdoc/>
    public void MergeFrom(CodedInputStream input) => input.ReadRawMessage(this);

    /// <inheritdoc/>
    public void MergeFrom(FileSyncMessage message)
    {
        Type = message.Type;
        Stat = message.Stat;
        _encodedStat = message._encodedStat;
        Id = message.Id;
        Data = message.Data;
        RawBytes = message.RawBytes;
    }

    /// <inheritdoc/>
    public FileSyncMessage Clone()
    {
        var copy = new FileSyncMessage();
        copy.MergeFrom(this);
        return copy;
    }

    /// <inheritdoc/>
    public bool Equals(FileSyncMessage? other) => other is not null && this.ToByteString().Equals(other.ToByteString());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as FileSyncMessage);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Type, Id, Data.Length);

    void IBufferMessage.InternalWriteTo(ref WriteContext output)
    {
        if (RawBytes is { IsEmpty: false })
        {
            output.WriteTag(BytesTag);
            output.WriteBytes(RawBytes);
        }
        if (Type != PacketType.Stat)
        {
            output.WriteTag(TypeTag);
            output.WriteEnum((int)Type);
        }
        if (_encodedStat is not null)
        {
            output.WriteTag(StatTag);
            output.WriteBytes(_encodedStat);
        }
        if (Id != 0)
        {
            output.WriteTag(IdTag);
            output.WriteUInt32(Id);
        }
        if (!Data.IsEmpty)
        {
            output.WriteTag(DataTag);
            output.WriteBytes(Data);
        }
    }

    void IBufferMessage.InternalMergeFrom(ref ParseContext input)
    {
        while (input.ReadTag() is var tag && tag != 0)
        {
            switch (tag)
            {
                case TypeTag:
                    Type = (PacketType)input.ReadEnum();
                    break;
                case BytesTag:
                    RawBytes = input.ReadBytes();
                    break;
                case StatTag:
                    _encodedStat = input.ReadBytes();
                    Stat = SyncStatCodec.Decode(_encodedStat.Span);
                    break;
                case IdTag:
                    Id = input.ReadUInt32();
                    break;
                case DataTag:
                    Data = input.ReadBytes();
                    break;
                default:
                    SkipField(ref input, tag);
                    break;
            }
        }
    }

    private static void SkipField(ref ParseContext input, uint tag)
    {
        switch (tag & 7)
        {
            case 0:
                _ = input.ReadUInt64();
                break;
            case 1:
                _ = input.ReadFixed64();
                break;
            case 2:
                _ = input.ReadBytes();
                break;
            case 5:
                _ = input.ReadFixed32();
                break;
            default:
                throw new InvalidDataException($"malformed packet in a file transfer: tag {tag}");
        }
    }
}
