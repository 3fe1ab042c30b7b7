using System.Text;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Solver;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Pushes a committed image under one name (spec 07 §12.6).</summary>
internal static class ImagePush
{
    /// <param name="services">The daemon's parts.</param>
    /// <param name="image">What to push.</param>
    /// <param name="name">The name, as the user wrote it.</param>
    /// <param name="byDigest">Without tag.</param>
    /// <param name="insecure">Value of <c>registry.insecure</c>.</param>
    /// <param name="request">Progress and credentials.</param>
    /// <param name="cancellationToken">Ends the push.</param>
    /// <exception cref="FormatException">Not a name, or one with a tag to be pushed by digest.</exception>
    /// <exception cref="RegistryException">The registry did not take it.</exception>
    public static async Task RunAsync(
        ExporterServices services, CommittedImage image, string name, bool byDigest, bool insecure, ExportRequest request, CancellationToken cancellationToken)
    {
        var reference = ImageReference.Parse(name);
        if (byDigest && (reference.Tag.Length > 0 || !reference.Digest.IsEmpty))
            throw new FormatException($"can't push tagged ref {reference} by digest");
        if (!byDigest)
            reference = reference.WithDefaultTag();
        var target = byDigest ? reference.Name : reference.WithDigest(image.Root.Digest).ToString();
        var credentials = new SessionRegistryCredentials(request.Sessions, [request.SessionId]);
        var pusher = services.Registry.Open(reference, RegistryAccess.Push, credentials, insecure).Pusher
            ?? throw new InvalidOperationException($"repository {reference.Name} was not opened for pushing");
        var progress = request.Context.Progress;
        StatusProgress? step = null;
        var options = new PushOptions
        {
            ByDigest = byDigest,
            Log = text => progress.Write(new ProgressLog(default, 2, Encoding.UTF8.GetBytes(text), services.Time.GetUtcNow())),
            AddSources = image.Blobs.WithSourcesAsync,
            OnPushingLayers = () => step = StatusProgress.Start(progress, "pushing layers"),
            OnPushingManifests = () =>
            {
                step?.Done();
                step = StatusProgress.Start(progress, $"pushing manifest for {target}");
            },
        };
        var pushed = new System.Collections.Concurrent.ConcurrentBag<Descriptor>();
        try
        {
            await pusher.PushImageAsync(image.Root, image.Blobs, options with { OnPushed = (blob, _) => pushed.Add(blob) }, cancellationToken);
        }
        finally
        {
            step?.Done();
            foreach (var blob in pushed.Where(IsMountable))
                await image.Blobs.AddSourceAsync(blob, reference, CancellationToken.None);
        }
    }

    private static bool IsMountable(Descriptor blob) =>
        blob.MediaType is MediaTypes.OciLayer or MediaTypes.OciLayerGzip or MediaTypes.DockerLayer or MediaTypes.DockerLayerGzip;
}
