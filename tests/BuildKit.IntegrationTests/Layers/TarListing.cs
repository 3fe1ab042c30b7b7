using System.Globalization;
using BuildKit.Storage.Layers.Tar;

namespace BuildKit.IntegrationTests.Layers;

/// <summary>A tar as lines, for messages of failing tests.</summary>
internal static class TarListing
{
    internal static async Task<string> Of(byte[] tar)
    {
        var reader = new TarReader(new MemoryStream(tar));
        var lines = new List<string>();
        while (await reader.NextAsync(CancellationToken.None) is { } h)
        {
            lines.Add(string.Create(CultureInfo.InvariantCulture,
                $"{(char)h.Type} {h.Name} -> {h.LinkName} {Convert.ToString(h.Mode, 8)} {h.Uid}:{h.Gid} {h.Size} {h.Mtime.Seconds} {h.DevMajor}:{h.DevMinor} {string.Join(',', h.Xattrs.Keys)}"));
        }
        return string.Join('\n', lines);
    }
}
