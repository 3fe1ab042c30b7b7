namespace BuildKit.Oci.Assembly;

/// <summary>What is known of the snapshot behind a layer.</summary>
/// <param name="Created">When it was made, if known.</param>
/// <param name="Description">What made it; null or empty becomes <c>created by buildkit</c>.</param>
public sealed record LayerOrigin(Rfc3339Time? Created, string? Description);

/// <summary>Makes the history of a config fit its layers (spec 07 §7.4).</summary>
public static class HistoryNormalizer
{
    private const string ExporterComment = "buildkit.exporter.image.v0";
    private const string UnknownDescription = "created by buildkit";

    /// <summary>The history for a number of layers.</summary>
    /// <param name="history">The config's history.</param>
    /// <param name="layerCount">Number of layers of the image.</param>
    /// <param name="origins">Origin per layer, bottom first; shorter lists describe the lowest layers.</param>
    public static IReadOnlyList<HistoryEntry> Normalize(IReadOnlyList<HistoryEntry> history, int layerCount, IReadOnlyList<LayerOrigin> origins)
    {
        var entries = history.ToList();
        var layers = 0;
        for (var i = 0; i < entries.Count; i++)
        {
            if (entries[i].EmptyLayer)
                continue;
            if (layers >= layerCount)
                entries[i] = entries[i] with { EmptyLayer = true };
            else
                layers++;
        }
        for (; layers < layerCount; layers++)
        {
            var origin = Origin(layers);
            entries.Add(new HistoryEntry
            {
                Created = origin?.Created,
                CreatedBy = origin?.Description is { Length: > 0 } description ? description : UnknownDescription,
                Comment = ExporterComment,
            });
        }
        var layer = 0;
        for (var i = 0; i < entries.Count; i++)
        {
            if (entries[i].EmptyLayer)
                continue;
            if (entries[i].Created is null)
                entries[i] = entries[i] with { Created = Origin(layer)?.Created };
            layer++;
        }
        FillTimes(entries);
        return entries;

        LayerOrigin? Origin(int index) => index < origins.Count ? origins[index] : null;
    }

    /// <summary>Gives entries without a time that of their neighbours: the last before them, at the start the first after them.</summary>
    private static void FillTimes(List<HistoryEntry> entries)
    {
        Rfc3339Time? time = null;
        var isMissing = false;
        foreach (var entry in entries)
        {
            if (entry.Created is null)
            {
                isMissing = true;
                continue;
            }
            time = entry.Created;
            if (isMissing)
                break;
        }
        if (!isMissing)
            return;
        isMissing = false;
        for (var i = 0; i < entries.Count; i++)
        {
            if (entries[i].Created is null)
            {
                entries[i] = entries[i] with { Created = time };
                isMissing = true;
            }
            else if (isMissing)
                time = entries[i].Created;
        }
    }
}
