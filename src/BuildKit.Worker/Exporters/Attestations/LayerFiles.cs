using BuildKit.Linux.Patterns;
using BuildKit.Oci;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>Tells which layer a file of an image comes from: the topmost one that has it.</summary>
internal static class LayerFiles
{
    private const string WhiteoutPrefix = ".wh.";

    /// <summary>A path as it is looked up: from the root, without dots.</summary>
    public static string Normalize(string path) => UnixPath.Clean("/" + path);

    /// <summary>The blobs of the layers that hold the files; those found nowhere are left out. From the top down, layers are
    /// read only until all are found.</summary>
    /// <param name="layers">Layers, bottom first.</param>
    /// <param name="paths">Normalised paths.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async Task<IReadOnlyDictionary<string, Digest>> FindAsync(RemoteLayers layers, IReadOnlyCollection<string> paths, CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, Digest>(StringComparer.Ordinal);
        var wanted = paths.ToHashSet(StringComparer.Ordinal);
        for (var i = layers.Descriptors.Count - 1; i >= 0 && wanted.Count > 0; i--)
        {
            var layer = layers.Descriptors[i];
            await using var source = new VerifyingStream(await layers.Provider.OpenAsync(layer, 0, cancellationToken), layer.Digest, layer.Size);
            await using var plain = await LayerDecompression.OpenAsync(source, layer.MediaType, cancellationToken);
            var reader = new TarReader(plain);
            while (wanted.Count > 0 && await reader.NextAsync(cancellationToken) is { } header)
            {
                var path = Normalize(header.Name);
                // What a layer removes is not looked for; the layer that made it is told.
                if (!UnixPath.Base(path).StartsWith(WhiteoutPrefix, StringComparison.Ordinal) && wanted.Remove(path))
                    found.Add(path, layer.Digest);
            }
        }
        return found;
    }
}
