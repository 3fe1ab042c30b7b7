using System.Threading.Channels;
using BuildKit.Client.Progress;
using BuildKit.Oci;
using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Commands;

/// <summary>A step the client itself does, shown among the daemon's, such as fetching a registry's token.</summary>
internal sealed class ClientVertex : IDisposable
{
    private readonly Vertex _vertex;
    private readonly ChannelWriter<StatusResponse> _messages;
    private readonly TimeProvider _time;

    private ClientVertex(Vertex vertex, ChannelWriter<StatusResponse> messages, TimeProvider time)
    {
        _vertex = vertex;
        _messages = messages;
        _time = time;
        Send();
    }

    /// <summary>Begins a step; disposing ends it.</summary>
    public static ClientVertex Begin(string name, ChannelWriter<StatusResponse> messages, TimeProvider time) => new(
        new Vertex
        {
            Digest = Digest.Sha256(Guid.NewGuid().ToByteArray()).ToString(),
            Name = name,
            Started = WireTime.ToTimestamp(WireTime.Now(time)),
        },
        messages,
        time);

    /// <inheritdoc/>
    public void Dispose()
    {
        _vertex.Completed = WireTime.ToTimestamp(WireTime.Now(_time));
        Send();
    }

    private void Send() => _messages.TryWrite(new StatusResponse { Vertexes = { _vertex.Clone() } });
}
