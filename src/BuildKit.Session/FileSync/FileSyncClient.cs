using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Session.FileSync;

/// <summary>The daemon's end of <c>moby.filesync.v1.FileSync</c>: fetches a client's directory.</summary>
public static class FileSyncClient
{
    /// <summary>Makes a directory equal to a part of a client's directory, transferring what differs.</summary>
    /// <param name="channel">The session.</param>
    /// <param name="name">Name of the client's directory.</param>
    /// <param name="filter">Which part.</param>
    /// <param name="destination">An existing directory; on failure its state is undefined.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    /// <exception cref="RpcException">The client refused, for example <c>no access allowed to dir "x"</c>.</exception>
    /// <exception cref="FileSyncException">The client failed or broke the protocol.</exception>
    public static async Task ReceiveAsync(
        IGrpcChannel channel, string name, FilterOptions filter, string destination, ReceiveOptions options, CancellationToken cancellationToken)
    {
        await using var call = channel.Open(FileSyncCalls.Receive, new CallOptions(FilterHeaders.Write(name, filter)), cancellationToken);
        await new FileReceiver(new CallPipe(call), destination, options).RunAsync(cancellationToken);
    }
}
