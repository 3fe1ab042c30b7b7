using System.Globalization;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSync;

namespace BuildKit.Session.FileSend;

/// <summary>The daemon's end of <c>moby.filesync.v1.FileSend</c>: hands the output of an exporter to the client.</summary>
public static class FileSendClient
{
    private const string ExporterId = "buildkit-attachable-exporter-id";
    private const string MetadataPrefix = "exporter-md-";

    /// <summary>Sends a tree to the client's directory for an exporter and returns when it is there.</summary>
    /// <param name="channel">The session.</param>
    /// <param name="exporter">Position of the exporter in the solve request.</param>
    /// <param name="tree">What to send.</param>
    /// <param name="progress">Gets the bytes sent so far, and true at the end.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    public static async Task SendDirectoryAsync(
        IGrpcChannel channel, int exporter, IFileTree tree, Action<long, bool>? progress, CancellationToken cancellationToken)
    {
        await using var call = channel.Open(FileSyncCalls.Send, new CallOptions(Headers(exporter, null)), cancellationToken);
        await new FileSender(new CallPipe(call), tree, progress).RunAsync(cancellationToken);
        await call.CompleteAsync(cancellationToken);
        while (await call.ReadAsync(cancellationToken) is not null)
        {
        }
    }

    /// <summary>
    /// Opens a stream into the client's file for an exporter. The writer ends it with
    /// <see cref="FileSendStream.CompleteAsync"/>; disposing without cancels the transfer.
    /// </summary>
    /// <param name="channel">The session.</param>
    /// <param name="exporter">Position of the exporter in the solve request.</param>
    /// <param name="metadata">Entries of the exporter's response, sent along; null for <c>type=tar</c>.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public static FileSendStream OpenStream(
        IGrpcChannel channel, int exporter, IReadOnlyDictionary<string, string>? metadata, CancellationToken cancellationToken) =>
        new(channel.Open(FileSyncCalls.Send, new CallOptions(Headers(exporter, metadata)), cancellationToken));

    private static Metadata Headers(int exporter, IReadOnlyDictionary<string, string>? metadata)
    {
        var headers = new Metadata { { ExporterId, exporter.ToString(CultureInfo.InvariantCulture) } };
        foreach (var (key, value) in metadata ?? new Dictionary<string, string>(StringComparer.Ordinal))
            headers.Add(MetadataPrefix + key, value);
        return headers;
    }
}
