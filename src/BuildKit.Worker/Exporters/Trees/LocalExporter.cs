using BuildKit.Oci;
using BuildKit.Session.FileSend;
using BuildKit.Session.FileSync;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters.Attestations;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Exporters.Trees;

/// <summary>Exporter type <c>local</c>: the result's files into a directory of the client (spec 07 §5).</summary>
public sealed class LocalExporterFactory(ExporterServices services) : IExporterFactory
{
    /// <inheritdoc/>
    public string Type => "local";

    /// <inheritdoc/>
    public IExporter Create(int index, IReadOnlyDictionary<string, string> attributes) =>
        new LocalExporter(services, index, TreeExportOptions.Parse(attributes));
}

internal sealed class LocalExporter(ExporterServices services, int index, TreeExportOptions options) : IExporter
{
    public string Name => "exporting to client directory";

    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        var epoch = options.Epoch ?? ExporterAttributes.Epoch(request.Source.Metadata);
        var session = await TreeExport.ClientAsync(request, cancellationToken);
        var refs = TreeExport.Refs(request.Source, services.DefaultPlatform);
        var started = services.Time.GetUtcNow();
        var seen = new Dictionary<string, string>(StringComparer.Ordinal);
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await ParallelTasks.RunAsync(refs.Select<(string, IImmutableRef?), Func<Task>>(entry => () => SendAsync(entry)), failing);
        return new Dictionary<string, string>(StringComparer.Ordinal);

        async Task SendAsync((string Id, IImmutableRef? Ref) entry)
        {
            await using var tree = await ExportTree.OpenAsync(entry.Ref, epoch, services.TemporaryDirectory, failing.Token);
            var files = await AttestationFiles.AddAsync(tree.Files, request, entry.Id, options, epoch, started, services, failing.Token);
            if (!options.PlatformSplit)
                CheckOverlap(files, entry.Id, seen, failing.Token);
            var label = "copying files";
            if (request.Source.Refs.Count > 0)
            {
                label += " " + entry.Id;
                if (options.PlatformSplit)
                    files = new SubdirectoryTree([(TreeExport.Directory(entry.Id, epoch), files)]);
            }
            await SendFilesAsync(session, files, label, request, failing.Token);
        }
    }

    private async Task SendFilesAsync(ClientSession session, IFileTree files, string label, ExportRequest request, CancellationToken cancellationToken)
    {
        var line = StatusProgress.Start(request.Context.Progress, label);
        var progress = new ThrottledProgress(line, "transferring");
        try
        {
            await FileSendClient.SendDirectoryAsync(session.Channel, index, files, progress.Report, cancellationToken);
        }
        finally
        {
            line.Done("transferring");
        }
    }

    private static void CheckOverlap(IFileTree files, string id, Dictionary<string, string> seen, CancellationToken cancellationToken)
    {
        foreach (var stat in files.Walk(cancellationToken))
        {
            if (stat.IsDirectory)
                continue;
            lock (seen)
            {
                if (seen.TryGetValue(stat.Path, out var other))
                    throw new InvalidOperationException($"cannot overwrite {stat.Path} from {other} with {id} when split option is disabled");
                seen.Add(stat.Path, id);
            }
        }
    }
}
