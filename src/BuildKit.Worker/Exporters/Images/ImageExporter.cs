using System.Text;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Exporter type <c>image</c> of a worker without image store: commits an image and pushes it (spec 07 §3, §13).</summary>
public sealed class ImageExporterFactory(ExporterServices services) : IExporterFactory
{
    /// <inheritdoc/>
    public string Type => "image";

    /// <inheritdoc/>
    public IExporter Create(int index, IReadOnlyDictionary<string, string> attributes)
    {
        var target = new ImageTarget();
        var options = ImageExportOptions.Parse(attributes, ociTypes: false, inlineAttestations: true, target.Take);
        return new ImageExporter(services, options, target);
    }
}

/// <summary>Attributes of <c>image</c> alone.</summary>
internal sealed class ImageTarget
{
    public bool Push { get; private set; }

    public bool ByDigest { get; private set; }

    public bool Insecure { get; private set; }

    public string DanglingPrefix { get; private set; } = "";

    public bool Take(string key, string value)
    {
        switch (key)
        {
            case "push":
                Push = ExporterAttributes.BoolOrEmpty(key, value);
                return true;
            case "push-by-digest":
                ByDigest = ExporterAttributes.BoolOrEmpty(key, value);
                return true;
            case "registry.insecure":
                Insecure = ExporterAttributes.BoolOrEmpty(key, value);
                return true;
            case "dangling-name-prefix":
                DanglingPrefix = value;
                return true;
            case "unpack" or "store" or "name-canonical" or "unsafe-internal-store-allow-incomplete":
                // About an image store, which this worker has not.
                _ = ExporterAttributes.BoolOrEmpty(key, value);
                return true;
            default:
                return false;
        }
    }
}

internal sealed class ImageExporter(ExporterServices services, ImageExportOptions options, ImageTarget target) : IExporter
{
    public string Name => "exporting to image";

    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        var metadata = ImageCommitter.Metadata(request.Source, options);
        using var image = await ImageCommitter.CommitAsync(services, options, request, metadata, cancellationToken);
        var names = options.Name;
        if (names == "*" && metadata.TryGetValue("image.name", out var proposed))
            names = Encoding.UTF8.GetString(proposed);
        if (names.Length == 0 && target.DanglingPrefix.Length > 0)
            names = $"{target.DanglingPrefix}@{image.Root.Digest}";
        if (target.Push && names.Length > 0)
        {
            foreach (var name in names.Split(','))
                await PushAsync(image, name, request, cancellationToken);
        }
        return image.Response(names);
    }

    private async Task PushAsync(CommittedImage image, string name, ExportRequest request, CancellationToken cancellationToken)
    {
        try
        {
            await ImagePush.RunAsync(services, image, name, target.ByDigest, target.Insecure, request, cancellationToken);
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            throw new ImagePushException($"failed to push {name}: {error.Message}", error);
        }
    }
}

/// <summary>An image could not be pushed.</summary>
public sealed class ImagePushException(string message, Exception cause) : Exception(message, cause);
