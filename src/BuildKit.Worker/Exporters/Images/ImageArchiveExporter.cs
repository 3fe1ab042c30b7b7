using System.Globalization;
using System.Text;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.Content;
using BuildKit.Session.FileSend;
using BuildKit.Worker.Exporters.Trees;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Exporter types <c>oci</c> and <c>docker</c>: an image as a tar file or layout directory of the client (spec 07 §6).</summary>
public sealed class ImageArchiveExporterFactory(ExporterServices services, bool isDocker) : IExporterFactory
{
    /// <inheritdoc/>
    public string Type => isDocker ? "docker" : "oci";

    /// <inheritdoc/>
    public IExporter Create(int index, IReadOnlyDictionary<string, string> attributes)
    {
        var asTar = true;
        var options = ImageExportOptions.Parse(attributes, ociTypes: !isDocker, inlineAttestations: false, (key, value) =>
        {
            if (key != "tar")
                return false;
            asTar = ExporterAttributes.BoolOrEmpty(key, value);
            return true;
        });
        return new ImageArchiveExporter(services, index, options, isDocker, asTar);
    }
}

internal sealed class ImageArchiveExporter(ExporterServices services, int index, ImageExportOptions options, bool isDocker, bool asTar) : IExporter
{
    private const string CreatedAnnotation = "org.opencontainers.image.created";
    private const int ParallelCopies = 4;

    public string Name => isDocker ? "exporting to docker image format" : "exporting to oci image format";

    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        if (isDocker && request.Source.Refs.Count > 0)
            throw new InvalidOperationException("docker exporter does not currently support exporting manifest lists");
        var metadata = ImageCommitter.Metadata(request.Source, options);
        using var committed = await ImageCommitter.CommitAsync(services, options, request, metadata, cancellationToken);
        var image = committed with { Root = WithCreated(committed.Root, committed.Epoch) };
        var names = options.Name;
        if (names == "*" && metadata.TryGetValue("image.name", out var proposed))
            names = Encoding.UTF8.GetString(proposed);
        var references = Normalize(names);
        var response = image.Response(string.Join(',', references.Select(reference => reference.ToString())));
        if (asTar)
            await SendTarAsync(request, image, references, response, cancellationToken);
        else
            await CopyAsync(request, image, cancellationToken);
        return response;
    }

    private Descriptor WithCreated(Descriptor root, Rfc3339Time? epoch)
    {
        if (root.Annotations.ContainsKey(CreatedAnnotation))
            return root;
        var created = (epoch ?? Rfc3339Time.From(services.Time.GetUtcNow().ToUniversalTime())) with { Nanoseconds = 0 };
        return root with
        {
            Annotations = new Dictionary<string, string>(root.Annotations, StringComparer.Ordinal) { [CreatedAnnotation] = created.ToString() },
        };
    }

    private static List<ImageReference> Normalize(string names)
    {
        var references = new List<ImageReference>();
        foreach (var name in names.Length == 0 ? [] : names.Split(','))
        {
            try
            {
                references.Add(ImageReference.ParseWithDefaultTag(name));
            }
            catch (FormatException e)
            {
                throw new FormatException($"failed to parse {name}: {e.Message}", e);
            }
        }
        return references;
    }

    private async Task SendTarAsync(
        ExportRequest request, CommittedImage image, List<ImageReference> references, Dictionary<string, string> response, CancellationToken cancellationToken)
    {
        var session = await TreeExport.ClientAsync(request, cancellationToken);
        var archive = await ImageArchive.DescribeAsync(image, references, withDockerManifest: isDocker, services.Content, cancellationToken);
        // What is still lazy is fetched before the client is sent the first byte: where a layer cannot be had, the export can
        // begin anew with another result.
        await archive.FetchAsync(cancellationToken);
        await request.Context.Progress.StepAsync("sending tarball", async () =>
        {
            try
            {
                await using var stream = FileSendClient.OpenStream(session.Channel, index, response, cancellationToken);
                await archive.WriteAsync(stream, cancellationToken);
                await stream.CompleteAsync(cancellationToken);
            }
            catch (RpcException unwanted) when (unwanted.Code == StatusCode.AlreadyExists)
            {
                // Documented: the client has it already.
            }
        });
    }

    // Blobs first, then manifests, children before the index that names them.
    private static async Task CopyAsync(ExportRequest request, CommittedImage image, CancellationToken cancellationToken)
    {
        var session = await request.Sessions.GetAsync(request.SessionId, cancellationToken);
        var client = new ContentClient(session.Channel, ContentStores.Export);
        var contents = await ImageContents.CollectAsync(image, cancellationToken);
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var slots = new SemaphoreSlim(ParallelCopies);
        await ParallelTasks.RunAsync(contents.Blobs.Select<Descriptor, Func<Task>>(blob => async () =>
        {
            await slots.WaitAsync(failing.Token);
            try
            {
                await CopyOneAsync(client, image, blob, failing.Token);
            }
            finally
            {
                slots.Release();
            }
        }), failing);
        foreach (var manifest in contents.Manifests.Reverse())
            await CopyOneAsync(client, image, manifest, cancellationToken);
    }

    private static async Task CopyOneAsync(ContentClient client, CommittedImage image, Descriptor blob, CancellationToken cancellationToken)
    {
        if (await client.GetSizeAsync(blob.Digest, cancellationToken) == blob.Size)
            return;
        await using var source = await image.Blobs.OpenAsync(blob, 0, cancellationToken);
        try
        {
            await client.WriteAsync(blob, source, cancellationToken);
        }
        catch (InvalidDataException e)
        {
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"failed to copy {blob.Digest} ({blob.MediaType}): {e.Message}"), e);
        }
    }
}
