using BuildKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>Differences by walking two trees side by side, names ordered by their bytes (spec 06 §2.3 A).</summary>
internal static class DoubleWalk
{
    /// <param name="lower">Root of the lower tree; null for none: then everything is added.</param>
    /// <param name="upper">Root of the upper tree.</param>
    /// <param name="prefix">Where both directories are beneath their roots, empty or ending in a slash.</param>
    /// <param name="hideWhiteouts">The upper tree is a raw overlay directory, whose whiteouts are no files.</param>
    /// <param name="onChange">Gets each change in order.</param>
    /// <param name="cancellationToken">Stops the walk.</param>
    internal static async ValueTask RunAsync(
        SafeFileHandle? lower, SafeFileHandle upper, string prefix, bool hideWhiteouts, Func<LayerChange, CancellationToken, ValueTask> onChange, CancellationToken cancellationToken)
    {
        var upperNames = LinuxDirectory.ReadSorted(upper, Here(prefix));
        var lowerNames = lower is null ? [] : LinuxDirectory.ReadSorted(lower, Here(prefix));
        for (int l = 0, u = 0; l < lowerNames.Count || u < upperNames.Count;)
        {
            var order = l == lowerNames.Count ? 1 : u == upperNames.Count ? -1 : LinuxText.CompareBytes(lowerNames[l].Name, upperNames[u].Name);
            var path = prefix + (order <= 0 ? lowerNames[l].Name : upperNames[u].Name);
            FileStat lowerStat = default;
            FileStat upperStat = default;
            // A name that readdir gives but lstat does not know (a whiteout in a directory that is not merged) is absent.
            var inLower = order <= 0 && LinuxFile.TryLstat(lower!, path, out lowerStat);
            var inUpper = order >= 0 && LinuxFile.TryLstat(upper, path, out upperStat) && !(hideWhiteouts && upperStat.IsOverlayWhiteout);
            l += order <= 0 ? 1 : 0;
            u += order >= 0 ? 1 : 0;
            if (inLower && !inUpper)
                await onChange(new LayerChange(ChangeKind.Delete, path, default), cancellationToken).ConfigureAwait(false);
            if (!inUpper)
                continue;
            var kind = ChangeKind.Add;
            if (inLower)
                kind = FileComparison.IsSame(lower!, path, lowerStat, upper, path, upperStat) ? ChangeKind.Unmodified : ChangeKind.Modify;
            if (kind != ChangeKind.Unmodified || (upperStat.Links > 1 && !upperStat.IsDirectory))
                await onChange(new LayerChange(kind, path, upperStat), cancellationToken).ConfigureAwait(false);
            if (upperStat.IsDirectory)
            {
                var bothDirectories = inLower && lowerStat.IsDirectory;
                await RunAsync(bothDirectories ? lower : null, upper, path + "/", hideWhiteouts, onChange, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private static string Here(string prefix) => prefix.Length == 0 ? "." : prefix[..^1];
}
