using System.Text;
using BuildKit.Linux.Patterns;
using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>Tells which layer a file of an image comes from: the topmost one that has it.</summary>
internal static class LayerFiles
{
    private const string WhiteoutPrefix = ".wh.";
    private const string ListKey = "layer.files";

    /// <summary>A path as it is looked up: from the root, without dots.</summary>
    public static string Normalize(string path) => UnixPath.Clean("/" + path);

    /// <summary>The blobs of the layers that hold the files; those found nowhere are left out. From the top down, layers are
    /// read only until all are found. What a layer holds is remembered with its record.</summary>
    /// <param name="layers">Layers, bottom first.</param>
    /// <param name="reference">The tree they make up; null to remember nothing.</param>
    /// <param name="paths">Normalised paths.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async Task<IReadOnlyDictionary<string, Digest>> FindAsync(
        RemoteLayers layers, IImmutableRef? reference, IReadOnlyCollection<string> paths, CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, Digest>(StringComparer.Ordinal);
        var wanted = paths.ToHashSet(StringComparer.Ordinal);
        var records = reference?.LayerChain() ?? [];
        try
        {
            for (var i = layers.Descriptors.Count - 1; i >= 0 && wanted.Count > 0; i--)
            {
                var metadata = records.Count == layers.Descriptors.Count ? records[i].Metadata : null;
                foreach (var path in await ListAsync(layers.Descriptors[i], layers.Provider, metadata, cancellationToken))
                {
                    if (wanted.Remove(path))
                        found.Add(path, layers.Descriptors[i].Digest);
                }
            }
        }
        finally
        {
            foreach (var record in records)
                await record.DisposeAsync();
        }
        return found;
    }

    /// <summary>Paths of the entries of a layer, without those that say what it removes: the layer that made a file is told,
    /// whether or not a later one removes it.</summary>
    private static async Task<IReadOnlyList<string>> ListAsync(Descriptor layer, IBlobProvider provider, IRefMetadata? metadata, CancellationToken cancellationToken)
    {
        if (metadata?.GetBlob(ListKey) is { } known)
            return Encoding.UTF8.GetString(known).Split('\0', StringSplitOptions.RemoveEmptyEntries);
        var paths = new List<string>();
        await using (var source = new VerifyingStream(await provider.OpenAsync(layer, 0, cancellationToken), layer.Digest, layer.Size))
        await using (var plain = await LayerDecompression.OpenAsync(source, layer.MediaType, cancellationToken))
        {
            var reader = new TarReader(plain);
            while (await reader.NextAsync(cancellationToken) is { } header)
            {
                var path = Normalize(header.Name);
                if (!UnixPath.Base(path).StartsWith(WhiteoutPrefix, StringComparison.Ordinal))
                    paths.Add(path);
            }
        }
        metadata?.SetBlob(ListKey, Encoding.UTF8.GetBytes(string.Join('\0', paths)));
        return paths;
    }
}
