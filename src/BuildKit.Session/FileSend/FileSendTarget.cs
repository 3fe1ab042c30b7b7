using System.Globalization;
using BuildKit.Linux;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSync;

namespace BuildKit.Session.FileSend;

/// <summary>
/// Opens what the bytes of an exporter go to, given the metadata it sent (<c>containerimage.digest</c>, …). Null refuses
/// them because the target exists. The stream is disposed at the end; an
/// <see cref="AtomicFileStream"/> takes its name only after a complete transfer.
/// </summary>
public delegate ValueTask<Stream?> OpenSendTarget(IReadOnlyDictionary<string, string> metadata, CancellationToken cancellationToken);

/// <summary>Where the output of one exporter goes: a directory, or bytes.</summary>
public sealed record SendTarget
{
    private SendTarget()
    {
    }

    internal string? Directory { get; private init; }

    internal OpenSendTarget? Open { get; private init; }

    /// <summary>Output of <c>type=local</c>: merged into a directory, which is made with mode 0700 when missing.</summary>
    public static SendTarget ToDirectory(string path) => new() { Directory = path };

    /// <summary>Output of <c>type=tar</c>, <c>oci</c>, <c>docker</c>.</summary>
    public static SendTarget ToStream(OpenSendTarget open) => new() { Open = open };
}

/// <summary>The client's end of <c>moby.filesync.v1.FileSend</c>: takes what exporters produce (spec 01 §5.6, 07 §6).</summary>
public static class FileSendTarget
{
    private const string ExporterId = "buildkit-attachable-exporter-id";
    private const string MetadataPrefix = "exporter-md-";

    /// <summary>Makes the service.</summary>
    /// <param name="targets">By position of the exporter in the solve request.</param>
    public static GrpcService Create(IReadOnlyDictionary<int, SendTarget> targets) =>
        new GrpcService().Stream(FileSyncCalls.Send, stream => TakeAsync(stream, targets));

    private static async Task TakeAsync(ServerStream<FileSyncMessage, FileSyncMessage> stream, IReadOnlyDictionary<int, SendTarget> targets)
    {
        var id = int.TryParse(stream.RequestHeaders.Get(ExporterId), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var parsed) ? parsed : 0;
        if (!targets.TryGetValue(id, out var target))
            throw new RpcException(StatusCode.Unknown, string.Create(CultureInfo.InvariantCulture, $"exporter {id} not found"));
        try
        {
            if (target.Directory is { } directory)
                await TakeDirectoryAsync(stream, directory);
            else
                await TakeBytesAsync(stream, target.Open!);
        }
        catch (Exception failure) when (failure is FileSyncException or IOException or UnauthorizedAccessException)
        {
            throw new RpcException(StatusCode.Unknown, failure.Message, failure);
        }
    }

    private static async Task TakeDirectoryAsync(ServerStream<FileSyncMessage, FileSyncMessage> stream, string directory)
    {
        LinuxFile.MkdirAll(Path.GetFullPath(directory), 0x1C0);
        var (uid, gid) = (LinuxProcess.EffectiveUserId, LinuxProcess.EffectiveGroupId);
        var options = new ReceiveOptions { Merge = true, Map = stat => stat with { Uid = uid, Gid = gid } };
        await new FileReceiver(new ServerPipe(stream), directory, options).RunAsync(stream.CancellationToken);
    }

    private static async Task TakeBytesAsync(ServerStream<FileSyncMessage, FileSyncMessage> stream, OpenSendTarget open)
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, _) in stream.RequestHeaders)
        {
            if (key.StartsWith(MetadataPrefix, StringComparison.Ordinal))
                metadata[key[MetadataPrefix.Length..]] = string.Join(',', stream.RequestHeaders.GetAll(key));
        }
        await using var output = await open(metadata, stream.CancellationToken)
            ?? throw new RpcException(StatusCode.AlreadyExists, "target already exists");
        while (await stream.ReadAsync(stream.CancellationToken) is { } message)
        {
            if (message.RawBytes is { } bytes)
                await output.WriteAsync(bytes.Memory, stream.CancellationToken);
        }
        if (output is AtomicFileStream atomic)
            atomic.Commit();
    }
}
