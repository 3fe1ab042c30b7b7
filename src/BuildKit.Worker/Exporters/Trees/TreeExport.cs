using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSync;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Exporters.Trees;

/// <summary>What <c>local</c> and <c>tar</c> have in common: the trees of a result by platform (spec 07 §5).</summary>
internal static class TreeExport
{
    private const string SendMethod = "/moby.filesync.v1.FileSend/DiffCopy";

    /// <summary>The client's session, which must take files.</summary>
    public static async Task<ClientSession> ClientAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        var session = await request.Sessions.GetAsync(request.SessionId, cancellationToken);
        if (!session.Supports(SendMethod))
            throw new RpcException(StatusCode.Unknown, "method /moby.filesync.v1.FileSend/diffcopy not supported by the client");
        return session;
    }

    /// <summary>Refs of a result with the ids of their platforms.</summary>
    public static IReadOnlyList<(string Id, IImmutableRef? Ref)> Refs(ExportSource source, Platform defaultPlatform)
    {
        var isMap = source.Refs.Count > 0;
        var platforms = ResultPlatforms.Resolve(source.Metadata, isMap, defaultPlatform);
        if (!isMap && platforms.Count > 1)
            throw new InvalidOperationException("unable to export multiple platforms without map");
        return [.. platforms.Select(platform => source.TryFindRef(platform.Id, out var found)
            ? (platform.Id, found)
            : throw new InvalidOperationException($"failed to find ref for ID {platform.Id}"))];
    }

    /// <summary>The directory a platform's tree is put in.</summary>
    public static SyncStat Directory(string id, Rfc3339Time? epoch) => new()
    {
        Path = id.Replace('/', '_'),
        Mode = GoFileMode.Directory | 0x1ED, // 0755
        ModTime = epoch is { } time ? ExportTree.Nanoseconds(time) : 0,
    };
}
