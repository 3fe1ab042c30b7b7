using BuildKit.Linux;
using BuildKit.Session.FileSend;
using BuildKit.Session.FileSync;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Worker.Exporters.Attestations;

namespace BuildKit.Worker.Exporters.Trees;

/// <summary>Exporter type <c>tar</c>: the result's files as one tar of the client (spec 07 §5).</summary>
public sealed class TarExporterFactory(ExporterServices services) : IExporterFactory
{
    /// <inheritdoc/>
    public string Type => "tar";

    /// <inheritdoc/>
    public IExporter Create(int index, IReadOnlyDictionary<string, string> attributes) =>
        new TarExporter(services, index, TreeExportOptions.Parse(attributes));
}

internal sealed class TarExporter(ExporterServices services, int index, TreeExportOptions options) : IExporter
{
    public string Name => "exporting to client tarball";

    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        var epoch = options.Epoch ?? ExporterAttributes.Epoch(request.Source.Metadata);
        var refs = TreeExport.Refs(request.Source, services.DefaultPlatform);
        var started = services.Time.GetUtcNow();
        var opened = new List<ExportTree>();
        try
        {
            var trees = new List<(SyncStat, IFileTree)>();
            foreach (var (id, reference) in refs)
            {
                var tree = await ExportTree.OpenAsync(reference, epoch, services.TemporaryDirectory, cancellationToken);
                opened.Add(tree);
                var files = await AttestationFiles.AddAsync(tree.Files, request, id, options, epoch, started, services, cancellationToken);
                trees.Add((TreeExport.Directory(id, epoch), files));
            }
            var whole = request.Source.Refs.Count > 0 ? new SubdirectoryTree(trees) : trees[0].Item2;
            var session = await TreeExport.ClientAsync(request, cancellationToken);
            await request.Context.Progress.StepAsync("sending tarball", async () =>
            {
                await using var stream = FileSendClient.OpenStream(session.Channel, index, null, cancellationToken);
                await TreeTar.WriteAsync(whole, stream, cancellationToken);
                await stream.CompleteAsync(cancellationToken);
            });
        }
        finally
        {
            foreach (var tree in opened)
                await tree.DisposeAsync();
        }
        return new Dictionary<string, string>(StringComparer.Ordinal);
    }
}

/// <summary>Writes a tree as a tar, without reading files into memory.</summary>
internal static class TreeTar
{
    private const int BufferSize = 128 << 10;

    /// <summary>Writes the entries in walk order and the end of the archive.</summary>
    /// <exception cref="IOException">A file vanished or changed its size while it was read.</exception>
    public static async Task WriteAsync(IFileTree tree, Stream output, CancellationToken cancellationToken)
    {
        foreach (var stat in tree.Walk(cancellationToken))
        {
            if ((stat.Mode & GoFileMode.Socket) != 0)
                continue;
            var header = Header(stat);
            await output.WriteAsync(TarHeaderEncoder.Encode(header), cancellationToken);
            if (header.Type != TarType.Regular || header.Size == 0)
                continue;
            await using var content = tree.Open(stat.Path) ?? throw new IOException($"open {stat.Path}: no such file or directory");
            await CopyAsync(content, output, stat, cancellationToken);
            await output.WriteAsync(new byte[TarHeaderEncoder.Padding(stat.Size)], cancellationToken);
        }
        await output.WriteAsync(new byte[2 * TarHeaderEncoder.BlockSize], cancellationToken);
    }

    private static async Task CopyAsync(Stream content, Stream output, SyncStat stat, CancellationToken cancellationToken)
    {
        var buffer = new byte[BufferSize];
        for (var rest = stat.Size; rest > 0;)
        {
            var read = await content.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, rest)), cancellationToken);
            if (read == 0)
                throw new IOException($"{stat.Path}: expected {stat.Size} bytes, the file has {stat.Size - rest}");
            await output.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
            rest -= read;
        }
    }

    private static TarHeader Header(SyncStat stat)
    {
        var type = TypeOf(stat);
        return new TarHeader
        {
            Name = stat.IsDirectory ? stat.Path + "/" : stat.Path,
            LinkName = stat.Linkname,
            Type = type,
            Mode = GoFileMode.ToUnix(stat.Mode) & UnixMode.PermissionMask,
            Uid = stat.Uid,
            Gid = stat.Gid,
            Size = type == TarType.Regular ? stat.Size : 0,
            Mtime = UnixTime.FromNanoseconds(checked(stat.ModTime + 500_000_000)) with { Nanoseconds = 0 },
            DevMajor = stat.DevMajor,
            DevMinor = stat.DevMinor,
            Xattrs = (stat.Xattrs ?? []).ToDictionary(xattr => xattr.Key, xattr => xattr.Value, StringComparer.Ordinal),
        };
    }

    private static byte TypeOf(SyncStat stat)
    {
        if (stat.IsSymlink)
            return TarType.Symlink;
        if (stat.Linkname.Length > 0)
            return TarType.HardLink;
        if (stat.IsDirectory)
            return TarType.Directory;
        if ((stat.Mode & GoFileMode.CharDevice) != 0)
            return TarType.Char;
        if ((stat.Mode & GoFileMode.Device) != 0)
            return TarType.Block;
        return (stat.Mode & GoFileMode.NamedPipe) != 0 ? TarType.Fifo : TarType.Regular;
    }
}
