using System.Buffers.Binary;
using System.Net.Sockets;

namespace BuildKit.Session.Ssh;

/// <summary>
/// Answers the requests of an ssh-agent connection. Only listing and signing are allowed; adding, removing, locking
/// and extensions are refused (spec 08 §2.6), whether the keys are ours or a real agent's.
/// </summary>
internal sealed class SshAgent
{
    private const byte Failure = 5;
    private const byte ListRequest = 11;
    private const byte ListAnswer = 12;
    private const byte SignRequest = 13;
    private const byte SignAnswer = 14;
    private const int MaxMessage = 256 << 10;

    private readonly IReadOnlyList<SshKey> _keys;
    private readonly string? _socketPath;

    public SshAgent(IReadOnlyList<SshKey> keys) => _keys = keys;

    public SshAgent(string socketPath)
    {
        _keys = [];
        _socketPath = socketPath;
    }

    /// <summary>Serves one connection until it ends.</summary>
    public async Task ServeAsync(Stream requests, Func<ReadOnlyMemory<byte>, ValueTask> answer, CancellationToken cancellationToken)
    {
        await using var agent = _socketPath is null ? null : await ConnectAsync(_socketPath, cancellationToken);
        while (await ReadMessageAsync(requests, cancellationToken) is { } request)
        {
            var response = request is [ListRequest or SignRequest, ..]
                ? agent is null ? Handle(request) : await ForwardAsync(agent, request, cancellationToken)
                : [Failure];
            var framed = new byte[4 + response.Length];
            BinaryPrimitives.WriteUInt32BigEndian(framed, (uint)response.Length);
            response.CopyTo(framed, 4);
            await answer(framed);
        }
    }

    private static async Task<NetworkStream> ConnectAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static async Task<byte[]> ForwardAsync(Stream agent, byte[] request, CancellationToken cancellationToken)
    {
        var framed = new byte[4 + request.Length];
        BinaryPrimitives.WriteUInt32BigEndian(framed, (uint)request.Length);
        request.CopyTo(framed, 4);
        await agent.WriteAsync(framed, cancellationToken);
        return await ReadMessageAsync(agent, cancellationToken) ?? throw new IOException("the ssh agent closed the connection");
    }

    private static async Task<byte[]?> ReadMessageAsync(Stream stream, CancellationToken cancellationToken)
    {
        var header = new byte[4];
        if (await stream.ReadAtLeastAsync(header, 4, throwOnEndOfStream: false, cancellationToken) < 4)
            return null;
        var length = BinaryPrimitives.ReadUInt32BigEndian(header);
        if (length is 0 or > MaxMessage)
            throw new InvalidDataException($"ssh agent message of {length} bytes, expected 1 to {MaxMessage}");
        var message = new byte[length];
        await stream.ReadExactlyAsync(message, cancellationToken);
        return message;
    }

    private byte[] Handle(byte[] request)
    {
        if (request[0] == ListRequest)
        {
            var list = new SshWriter().Byte(ListAnswer).Number((uint)_keys.Count);
            foreach (var key in _keys)
                list.Bytes(key.PublicBlob).Text(key.Comment);
            return list.ToArray();
        }
        try
        {
            var reader = new SshReader(request.AsSpan(1));
            var blob = reader.Bytes();
            var data = reader.Bytes().ToArray();
            var flags = reader.IsAtEnd ? 0 : reader.Number();
            foreach (var key in _keys)
            {
                if (blob.SequenceEqual(key.PublicBlob))
                    return new SshWriter().Byte(SignAnswer).Bytes(key.Sign(data, flags)).ToArray();
            }
            return [Failure];
        }
        catch (InvalidDataException)
        {
            return [Failure];
        }
    }
}
