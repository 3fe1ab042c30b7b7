namespace BuildKit.Oci.Assembly;

/// <summary>Turns a frontend's image config into that of the exported image (spec 07 §7.5).</summary>
public static class ImageConfigPatch
{
    private const string InlineCacheKey = "moby.buildkit.cache.v0";

    /// <summary>Reads the config a frontend gave, after the checks every export makes.</summary>
    /// <param name="json">The frontend's bytes; empty for none.</param>
    /// <param name="platform">Platform of an image without config.</param>
    /// <exception cref="FormatException">Not a usable config; the message is the one clients know.</exception>
    public static (byte[] Json, ImageConfig Config) Check(ReadOnlyMemory<byte> json, Platform platform)
    {
        if (json.IsEmpty)
        {
            var empty = ImageConfig.Empty(platform);
            return (empty.ToJson(), empty);
        }
        if (json.Span.Trim(" \t\r\n"u8).SequenceEqual("null"u8))
            throw new FormatException("invalid null image config for export");
        ImageConfig config;
        try
        {
            config = ImageConfig.Parse(json);
        }
        catch (FormatException e)
        {
            throw new FormatException($"invalid image config for export: {e.Message}", e);
        }
        if (config.Platform.Os.Length == 0)
            throw new FormatException("invalid image config for export: missing os");
        if (config.Platform.Architecture.Length == 0)
            throw new FormatException("invalid image config for export: missing architecture");
        return (json.ToArray(), config);
    }

    /// <summary>The config's final bytes: unknown keys kept, <c>rootfs</c>, <c>history</c> and <c>created</c> replaced, keys sorted.</summary>
    /// <param name="json">The frontend's config, checked.</param>
    /// <param name="diffIds">Diff ids of the layers, bottom first.</param>
    /// <param name="history">The history, normalised (see <see cref="HistoryNormalizer"/>).</param>
    /// <param name="epoch">SOURCE_DATE_EPOCH; later times become this one, except in the unchanged history of the base.</param>
    /// <param name="baseHistory">History of the base image, if known.</param>
    /// <param name="inlineCache">Inline cache to embed; empty for none.</param>
    public static byte[] Apply(
        ReadOnlyMemory<byte> json,
        IReadOnlyList<Digest> diffIds,
        IReadOnlyList<HistoryEntry> history,
        Rfc3339Time? epoch = null,
        IReadOnlyList<HistoryEntry>? baseHistory = null,
        ReadOnlyMemory<byte> inlineCache = default)
    {
        var document = RawJsonObject.Parse(json);
        document.Set("rootfs", writer => ImageConfig.WriteRootFsValue(writer, diffIds, "layers"));
        if (epoch is { } limit)
            history = Clamp(history, limit, baseHistory ?? []);
        document.Set("history", writer =>
        {
            if (history.Count == 0)
                writer.WriteNull();
            else
                HistoryEntry.WriteArray(writer, history);
        });
        if (document.Get("created") is { } created)
        {
            if (epoch is { } latest && ImageConfig.Parse((byte[])[.. "{\"created\":"u8, .. created.Span, .. "}"u8]).Created is { } time && time > latest)
                document.Set("created", writer => writer.WriteString(latest.ToString()));
        }
        else
        {
            var last = history.LastOrDefault(entry => entry.Created is not null)?.Created;
            document.Set("created", writer =>
            {
                if (last is { } time)
                    writer.WriteString(time.ToString());
                else
                    writer.WriteNull();
            });
        }
        if (!inlineCache.IsEmpty)
            document.Set(InlineCacheKey, writer => writer.WriteBase64(inlineCache.Span));
        return document.ToJson();
    }

    private static List<HistoryEntry> Clamp(IReadOnlyList<HistoryEntry> history, Rfc3339Time epoch, IReadOnlyList<HistoryEntry> baseHistory)
    {
        var result = history.ToList();
        var isBase = true;
        for (var i = 0; i < result.Count; i++)
        {
            isBase = isBase && i < baseHistory.Count && result[i] == baseHistory[i];
            if (!isBase && (result[i].Created is not { } created || created > epoch))
                result[i] = result[i] with { Created = epoch };
        }
        return result;
    }
}
