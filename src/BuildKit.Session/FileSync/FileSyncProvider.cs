using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Session.FileSync;

/// <summary>A directory that a client lets its builds read.</summary>
/// <param name="Path">Where it is.</param>
/// <param name="KeepOwner">Whether owners are sent as they are; otherwise root owns everything.</param>
public sealed record LocalDirectory(string Path, bool KeepOwner = false);

/// <summary>The client's end of <c>moby.filesync.v1.FileSync</c>: offers named directories (spec 01 §5.4, §5.5).</summary>
public static class FileSyncProvider
{
    /// <summary>Makes the service.</summary>
    /// <param name="directories">By the name that builds use.</param>
    /// <param name="progress">Gets name, bytes sent so far and whether the transfer is over; may be called concurrently.</param>
    public static GrpcService Create(IReadOnlyDictionary<string, LocalDirectory> directories, Action<string, long, bool>? progress = null) =>
        new GrpcService()
            .Stream(FileSyncCalls.Receive, stream => SendAsync(stream, directories, progress))
            .Stream(FileSyncCalls.Tar, static _ => throw new RpcException(StatusCode.Unknown, "failed to negotiate protocol"));

    private static async Task SendAsync(
        ServerStream<FileSyncMessage, FileSyncMessage> stream,
        IReadOnlyDictionary<string, LocalDirectory> directories,
        Action<string, long, bool>? progress)
    {
        var (name, filter) = FilterHeaders.Read(stream.RequestHeaders);
        if (!directories.TryGetValue(name, out var directory))
            throw new RpcException(StatusCode.NotFound, $"no access allowed to dir \"{name}\"");
        try
        {
            var tree = new DirectoryTree(directory.Path, filter, directory.KeepOwner ? null : DirectoryTree.ResetOwner)
            {
                ToleratesUnreadable = directory.KeepOwner,
            };
            Action<long, bool>? report = progress is null ? null : (bytes, isLast) => progress(name, bytes, isLast);
            await new FileSender(new ServerPipe(stream), tree, report).RunAsync(stream.CancellationToken);
        }
        catch (Exception failure) when (failure is PatternSyntaxException or LinuxException or FileSyncException)
        {
            throw new RpcException(StatusCode.Unknown, failure.Message, failure);
        }
    }
}
