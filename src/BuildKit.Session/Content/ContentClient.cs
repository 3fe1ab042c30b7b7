using System.Security.Cryptography;
using BuildKit.Oci;
using BuildKit.Protocol.Content;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using Google.Protobuf;

namespace BuildKit.Session.Content;

/// <summary>The daemon's end of one content store of a session. Calls may be made concurrently.</summary>
/// <param name="channel">The session.</param>
/// <param name="store">Name of the store (see <see cref="ContentStores"/>).</param>
/// <param name="time">Clock of pauses; the system's by default.</param>
public sealed class ContentClient(IGrpcChannel channel, string store, TimeProvider? time = null)
{
    // A message with its frame fits into a buffer of 64 KiB.
    private const int PieceSize = (64 << 10) - 256;

    // Pieces on the way whose answers have not come: the client writes one while the next ones are read and sent.
    private const int PiecesAhead = 16;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    private readonly TimeProvider _time = time ?? TimeProvider.System;

    /// <summary>Size of a blob, or null when it is not there.</summary>
    public async Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken)
    {
        try
        {
            var response = await channel.UnaryAsync(ContentMethods.Info, new InfoRequest { Digest = digest.ToString() }, Options(), cancellationToken);
            return response.Info.Size;
        }
        catch (RpcException missing) when (missing.Code == StatusCode.NotFound && missing.Message.Contains(digest.ToString(), StringComparison.Ordinal))
        {
            return null;
        }
    }

    /// <summary>Opens a blob for reading. The bytes are not verified. A missing blob fails here or at the first read with
    /// <see cref="StatusCode.NotFound"/>.</summary>
    /// <param name="digest">The blob.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="size">Number of bytes; 0 means the rest.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public async Task<Stream> OpenReadAsync(Digest digest, long offset, long size, CancellationToken cancellationToken)
    {
        var call = channel.Open(ContentMethods.Read, Options(), cancellationToken);
        try
        {
            await call.SendAsync(new ReadContentRequest { Digest = digest.ToString(), Offset = offset, Size = size }, cancellationToken);
            await call.CompleteAsync(cancellationToken);
        }
        catch
        {
            await call.DisposeAsync();
            throw;
        }
        return new MessageReadStream(async token => (await call.ReadAsync(token))?.Data.Memory, call.DisposeAsync);
    }

    /// <summary>Writes a blob; one that is already there is success. The bytes are verified on both sides.</summary>
    /// <exception cref="InvalidDataException">The bytes do not have the size or digest of the descriptor.</exception>
    public async Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken)
    {
        while (true)
        {
            await using var call = channel.Open(ContentMethods.Write, Options(), cancellationToken);
            try
            {
                await StartAsync(call, descriptor, cancellationToken);
            }
            catch (RpcException exists) when (exists.Code == StatusCode.AlreadyExists)
            {
                return; // Somebody else wrote the same bytes: what was wanted is there.
            }
            catch (RpcException locked) when (locked.Code == StatusCode.Unavailable && locked.Message.Contains(" locked", StringComparison.Ordinal))
            {
                // Another export of the build writes the same blob: it will be there, or can be written, soon.
                await Task.Delay(Pause, _time, cancellationToken);
                continue;
            }
            try
            {
                await SendAsync(call, descriptor, content, cancellationToken);
            }
            catch (RpcException exists) when (exists.Code == StatusCode.AlreadyExists)
            {
                // As above, in the meantime.
            }
            return;
        }
    }

    private static Task StartAsync(IGrpcCall<WriteContentRequest, WriteContentResponse> call, Descriptor descriptor, CancellationToken cancellationToken)
    {
        var digest = descriptor.Digest.ToString();
        return ExchangeAsync(call, new WriteContentRequest { Action = WriteAction.Stat, Ref = "buildkit-" + digest, Total = descriptor.Size, Expected = digest }, cancellationToken);
    }

    private static async Task SendAsync(
        IGrpcCall<WriteContentRequest, WriteContentResponse> call, Descriptor descriptor, Stream content, CancellationToken cancellationToken)
    {
        var digest = descriptor.Digest.ToString();
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[PieceSize];
        long offset = 0, answered = 0;
        while (await content.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken) is var length and > 0)
        {
            hash.AppendData(buffer, 0, length);
            var request = new WriteContentRequest { Action = WriteAction.Write, Offset = offset, Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, length)) };
            offset += length;
            await call.SendAsync(request, cancellationToken);
            if (offset - answered > PiecesAhead * PieceSize)
                await AnswerAsync();
        }
        while (answered < offset)
            await AnswerAsync();
        var actual = Digest.FromSha256(hash.GetHashAndReset());
        if (offset != descriptor.Size || (descriptor.Digest.Algorithm == "sha256" && actual != descriptor.Digest))
            throw new InvalidDataException($"writing {digest} to the client: expected {descriptor.Size} bytes, got {offset} bytes with digest {actual}");
        await ExchangeAsync(call, new WriteContentRequest { Action = WriteAction.Commit, Offset = offset, Total = descriptor.Size, Expected = digest }, cancellationToken);
        await call.CompleteAsync(cancellationToken);
        // The last answer may come twice (spec 01 §1.6).
        while (await call.ReadAsync(cancellationToken) is not null)
        {
        }

        // Every piece is answered, in order.
        async Task AnswerAsync()
        {
            answered = Math.Min(answered + PieceSize, offset);
            var response = await NextAsync(call, cancellationToken);
            if (response.Offset != answered)
                throw new InvalidDataException($"writing {digest} to the client: it has {response.Offset} bytes, {answered} were sent");
        }
    }

    private static async Task<WriteContentResponse> ExchangeAsync(
        IGrpcCall<WriteContentRequest, WriteContentResponse> call, WriteContentRequest request, CancellationToken cancellationToken)
    {
        await call.SendAsync(request, cancellationToken);
        return await NextAsync(call, cancellationToken);
    }

    private static async Task<WriteContentResponse> NextAsync(IGrpcCall<WriteContentRequest, WriteContentResponse> call, CancellationToken cancellationToken) =>
        await call.ReadAsync(cancellationToken) ?? throw new RpcException(StatusCode.Unavailable, "the client's content store ended the call");

    private CallOptions Options() => new(new Metadata { { ContentStores.Header, store } });
}
