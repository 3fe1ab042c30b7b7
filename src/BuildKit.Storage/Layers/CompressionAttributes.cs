using BuildKit.Oci;

namespace BuildKit.Storage.Layers;

/// <summary>Reads how layers are to be compressed from the attributes of an image or cache export (spec 06 §4.1).</summary>
public static class CompressionAttributes
{
    /// <summary><c>uncompressed</c>, <c>gzip</c>, <c>estargz</c> or <c>zstd</c>; gzip when it is not given.</summary>
    public const string Type = "compression";

    /// <summary>The codec's level: gzip and estargz -2 (Huffman only), -1 (default) and 0 to 9; zstd any, beyond 0 to 22 as the nearest.</summary>
    public const string Level = "compression-level";

    /// <summary>Whether blobs that exist in another form are converted; true when it is given without a value.</summary>
    public const string Force = "force-compression";

    /// <summary>Reads the three attributes.</summary>
    /// <exception cref="FormatException">One of them cannot be read, or the codec has no such level; the texts are the reference's.</exception>
    public static CompressionOptions Read(IReadOnlyDictionary<string, string> attributes)
    {
        var type = !attributes.TryGetValue(Type, out var name) ? CompressionType.Gzip : name switch
        {
            "uncompressed" => CompressionType.Uncompressed,
            "gzip" => CompressionType.Gzip,
            "estargz" => CompressionType.EStargz,
            "zstd" => CompressionType.Zstd,
            _ => throw new FormatException($"unsupported compression type {name}"),
        };
        var isForced = attributes.TryGetValue(Force, out var force)
            && (force.Length == 0 || (GoSyntax.ParseBool(force) ?? throw new FormatException($"non-bool value {force} specified for {Force}: {GoSyntax.BoolError(force)}")));
        int? level = null;
        if (attributes.TryGetValue(Level, out var text))
        {
            var number = GoSyntax.ParseInt(text, out var error) ?? throw new FormatException($"non-integer value {text} specified for {Level}: {error}");
            // The reference finds this out when it compresses the first layer.
            if (type is CompressionType.Gzip or CompressionType.EStargz && number is < -2 or > 9)
                throw new FormatException($"gzip: invalid compression level: {number}");
            level = (int)Math.Clamp(number, -2, 22);
        }
        return new CompressionOptions(type, level, isForced);
    }
}
