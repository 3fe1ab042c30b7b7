using System.Buffers;
using System.Buffers.Binary;
using System.IO.Compression;
using Google.Protobuf;

namespace BuildKit.Protocol.Grpc;

/// <summary>Length-prefixed messages inside a call's byte stream.</summary>
internal static class GrpcFraming
{
    /// <summary>One byte compression flag, four bytes length.</summary>
    public const int PrefixLength = 5;

    public static void WritePrefix(Span<byte> target, int size)
    {
        target[0] = 0;
        BinaryPrimitives.WriteInt32BigEndian(target[1..], size);
    }

    /// <summary>Parses the first message of a buffer if it is there completely.</summary>
    /// <param name="buffer">Received bytes.</param>
    /// <param name="parser">Parser of the message.</param>
    /// <param name="encoding">What <c>grpc-encoding</c> said.</param>
    /// <param name="limit">Largest message in bytes, compressed or not.</param>
    /// <param name="message">The message.</param>
    /// <param name="length">Bytes it took, prefix included.</param>
    /// <exception cref="RpcException">Too large, malformed, or compressed with something else than gzip.</exception>
    public static bool TryParse<T>(
        ReadOnlySequence<byte> buffer, MessageParser<T> parser, string encoding, int limit, out T? message, out long length)
        where T : class, IMessage<T>
    {
        message = null;
        length = 0;
        if (buffer.Length < PrefixLength)
            return false;
        Span<byte> prefix = stackalloc byte[PrefixLength];
        buffer.Slice(0, PrefixLength).CopyTo(prefix);
        var size = BinaryPrimitives.ReadUInt32BigEndian(prefix[1..]);
        if (size > (uint)limit)
            throw new RpcException(
                StatusCode.ResourceExhausted, $"grpc: received message larger than max ({size} vs. {limit})");
        if (prefix[0] > 1)
            throw new RpcException(StatusCode.Internal, $"grpc: received unexpected payload format {prefix[0]}");
        if (buffer.Length < PrefixLength + size)
            return false;
        length = PrefixLength + size;
        var payload = buffer.Slice(PrefixLength, size);
        try
        {
            message = prefix[0] == 0 ? parser.ParseFrom(payload) : parser.ParseFrom(Inflate(payload, encoding, limit));
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new RpcException(StatusCode.Internal, $"grpc: failed to unmarshal the received message: {e.Message}", e);
        }

        return true;
    }

    private static byte[] Inflate(ReadOnlySequence<byte> payload, string encoding, int limit)
    {
        if (!string.Equals(encoding, "gzip", StringComparison.Ordinal))
            throw new RpcException(
                StatusCode.Unimplemented, $"grpc: Decompressor is not installed for grpc-encoding \"{encoding}\"");
        try
        {
            using var source = new GZipStream(new MemoryStream(payload.ToArray()), CompressionMode.Decompress);
            var output = new MemoryStream();
            var chunk = new byte[16 << 10];
            for (int count; (count = source.Read(chunk)) > 0;)
            {
                output.Write(chunk.AsSpan(0, count));
                if (output.Length > limit)
                    throw new RpcException(
                        StatusCode.ResourceExhausted, $"grpc: received message after decompression larger than max {limit}");
            }

            return output.ToArray();
        }
        catch (InvalidDataException e)
        {
            throw new RpcException(StatusCode.Internal, $"grpc: failed to decompress the received message: {e.Message}", e);
        }
    }
}
