using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Layers;

/// <summary>The layer directories behind snapshot mounts.</summary>
public static class OverlayLayers
{
    /// <summary>Directories base first, the upper directory last; null when the mounts are something else than one
    /// bind mount or one overlay with known options.</summary>
    public static IReadOnlyList<string>? Of(IReadOnlyList<MountSpec> mounts)
    {
        if (mounts is not [var mount])
            return null;
        if (mount.Type == "bind")
            return [mount.Source];
        if (mount.Type != "overlay")
            return null;
        string? upper = null;
        var layers = new List<string>();
        foreach (var option in mount.Options)
        {
            if (option.StartsWith("upperdir=", StringComparison.Ordinal))
                upper = option["upperdir=".Length..];
            else if (option.StartsWith("lowerdir=", StringComparison.Ordinal))
                layers.AddRange(Enumerable.Reverse(option["lowerdir=".Length..].Split(':')));
            else if (!(option.StartsWith("workdir=", StringComparison.Ordinal) || option == "index=off" || option == "userxattr"
                || option.StartsWith("redirect_dir=", StringComparison.Ordinal)))
                return null;
        }
        if (upper is not null)
            layers.Add(upper);
        return layers.Count == 0 || layers.Exists(l => l.Length == 0 || l.Contains('\\', StringComparison.Ordinal)) ? null : layers;
    }

    /// <summary>The one directory that upper has above lower; null when they differ by something else.</summary>
    public static string? UpperDirectory(IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper)
    {
        var upperLayers = Of(upper);
        IReadOnlyList<string>? lowerLayers = lower is null or [] ? [] : Of(lower);
        if (upperLayers is null || lowerLayers is null || upperLayers.Count != lowerLayers.Count + 1)
            return null;
        if (lowerLayers.Count == 0 && upper[0].Type != "bind")
            return null;
        return upperLayers.Take(lowerLayers.Count).SequenceEqual(lowerLayers, StringComparer.Ordinal) ? upperLayers[^1] : null;
    }
}
