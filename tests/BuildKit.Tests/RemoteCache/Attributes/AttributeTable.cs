namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>Every attribute of every type of cache, on both sides: what is accepted, what is refused and in which words, and what
/// it does (spec 04 §5 to §8). <see cref="AttributeTableTests"/> fails when code or documentation know one that is not here.</summary>
internal static partial class AttributeTable
{
    private static readonly string[] ExportTypes = ["registry", "local", "gha", "s3", "azblob"];
    private static readonly string[] Joinable = ["registry", "local", "s3", "azblob", "gha"];
    private static readonly string[] Both = ["export", "import"];

    // Exactly the spellings of Go's strconv.ParseBool.
    private static readonly string[] True = ["1", "t", "T", "TRUE", "true", "True"];
    private static readonly string[] False = ["0", "f", "F", "FALSE", "false", "False"];
    private static readonly string[] NoBool = ["", "yes", "on", "tRUE", "2", " true"];

    public static IEnumerable<AttributeRow> Rows => [.. Common, .. Inline, .. Registry, .. Local, .. Actions, .. S3, .. Azure];

    /// <summary>Attributes that all types, or all that can, read alike.</summary>
    private static IEnumerable<AttributeRow> Common
    {
        get
        {
            foreach (var type in ExportTypes)
            {
                yield return new(type, "export", "mode", "", "mode", "Min");
                yield return new(type, "export", "mode", "mode=min", "mode", "Min");
                yield return new(type, "export", "mode", "mode=max", "mode", "Max");
                foreach (var other in new[] { "", "MAX", "Max", "all" })
                    yield return new(type, "export", "mode", "mode=" + other, "mode", "Min");
                yield return new(type, "export", "ignore-error", "", "ignores errors", "False");
                foreach (var yes in True)
                    yield return new(type, "export", "ignore-error", "ignore-error=" + yes, "ignores errors", "True");
                foreach (var no in False.Concat(NoBool))
                    yield return new(type, "export", "ignore-error", "ignore-error=" + no, "ignores errors", "False");
                yield return new(type, "export", "", "unknown=1,Mode=max,compresion=lzma", "refused", "accepted");
            }
            foreach (var type in ExportTypes)
            {
                foreach (var row in Compression(type))
                    yield return row;
                // Only exports make layers and documents.
                yield return new(type, "import", "", "compression=lzma,compression-level=x,force-compression=x,oci-mediatypes=x,image-manifest=x,merge=x,keep-duration=x,keep-bytes=x,mode=x,ignore-error=x,unknown=1", "found", "the result");
            }
            foreach (var type in Joinable)
            {
                foreach (var row in Merge(type))
                    yield return row;
            }
            foreach (var (given, error) in new[] { ("soon", "invalid duration \"soon\""), ("10", "missing unit in duration \"10\""), ("", "invalid duration \"\"") })
                yield return new("registry", "export", "timeout", "timeout=" + given, "refused", "failed to configure registry cache exporter: failed to parse timeout for registry cache: time: " + error);
            yield return new("registry", "export", "timeout", "timeout=1m30s", "refused", "accepted");
            foreach (var (type, side) in ExportTypes.SelectMany(type => Both.Select(side => (type, side))))
            {
                yield return new(type, side, "cache-mounts", "", "mounts", "none");
                yield return new(type, side, "cache-mounts", "cache-mounts=", "mounts", "none");
                foreach (var yes in True)
                    yield return new(type, side, "cache-mounts", "cache-mounts=" + yes, "mounts", "go npm pip");
                foreach (var no in False)
                    yield return new(type, side, "cache-mounts", "cache-mounts=" + no, "mounts", "none");
                yield return new(type, side, "cache-mounts", "cache-mounts=go; /npm;;", "mounts", "go npm");
                yield return new(type, side, "cache-mounts", "cache-mounts=yes", "mounts", "");
            }
            foreach (var type in new[] { "registry", "local" })
            {
                yield return new(type, "import", "timeout", "", "patience", "00:00:30");
                yield return new(type, "import", "timeout", "timeout=5s", "patience", "00:00:05");
                foreach (var other in new[] { "", "soon", "5", "0s", "-1s" })
                    yield return new(type, "import", "timeout", "timeout=" + other, "patience", "00:00:30");
                yield return new(type, "import", "timeout", "timeout=soon", "found", "the result");
                foreach (var (given, form) in new[]
                {
                    ("", "oci.image.index.v1+json of oci.image.layer.v1.tar+gzip, buildkit.cacheconfig.v0"),
                    ("oci-mediatypes=false", "docker.distribution.manifest.list.v2+json of docker.image.rootfs.diff.tar.gzip, buildkit.cacheconfig.v0"),
                    ("image-manifest=true", "oci.image.manifest.v1+json of config buildkit.cacheconfig.v0, oci.image.layer.v1.tar+gzip"),
                    ("image-manifest=true,oci-mediatypes=true", "oci.image.manifest.v1+json of config buildkit.cacheconfig.v0, oci.image.layer.v1.tar+gzip"),
                    ("image-manifest=false", "oci.image.index.v1+json of oci.image.layer.v1.tar+gzip, buildkit.cacheconfig.v0"),
                })
                {
                    var attribute = given.StartsWith("image", StringComparison.Ordinal) ? "image-manifest" : "oci-mediatypes";
                    yield return new(type, "export", attribute, given, "stored", (type == "registry" ? "h/a:latest " : "$DIR/c:latest ") + form);
                }
                foreach (var attribute in new[] { "oci-mediatypes", "image-manifest" })
                {
                    foreach (var value in True.Concat(False))
                        yield return new(type, "export", attribute, (attribute == "image-manifest" ? "oci-mediatypes=1," : "") + $"{attribute}={value}", "refused", "accepted");
                    foreach (var value in NoBool)
                        yield return new(type, "export", attribute, $"{attribute}={value}", "refused", $"failed to configure {type} cache exporter: failed to parse {attribute}: strconv.ParseBool: parsing \"{value}\": invalid syntax");
                }
                yield return new(type, "export", "image-manifest", "image-manifest=true,oci-mediatypes=false", "refused", "invalid configuration for remote cache");
            }
        }
    }

    private static IEnumerable<AttributeRow> Compression(string type)
    {
        var refused = $"failed to configure {type} cache exporter: {(type == "azblob" ? "failed to create azblob config: " : "")}";
        foreach (var (given, seen) in new[]
        {
            ("", "Gzip"), ("compression=uncompressed", "Uncompressed"), ("compression=gzip", "Gzip"), ("compression=estargz", "EStargz"), ("compression=zstd", "Zstd"),
        })
            yield return new(type, "export", "compression", given, "compression", seen);
        foreach (var other in new[] { "", "lzma", "GZIP", "Zstd", "none" })
            yield return new(type, "export", "compression", "compression=" + other, "refused", $"{refused}unsupported compression type {other}");

        foreach (var codec in new[] { "gzip", "estargz" })
        {
            var name = codec == "gzip" ? "Gzip" : "EStargz";
            foreach (var level in new[] { "-2", "-1", "0", "1", "9" })
                yield return new(type, "export", "compression-level", $"compression={codec},compression-level={level}", "compression", $"{name} level {level}");
            foreach (var level in new[] { "-3", "10", "22", "9223372036854775807" })
                yield return new(type, "export", "compression-level", $"compression={codec},compression-level={level}", "refused", $"{refused}gzip: invalid compression level: {level}");
        }
        foreach (var (level, seen) in new[] { ("-5", "-2"), ("-1", "-1"), ("0", "0"), ("3", "3"), ("+7", "7"), ("22", "22"), ("23", "22"), ("9223372036854775807", "22") })
            yield return new(type, "export", "compression-level", $"compression=zstd,compression-level={level}", "compression", $"Zstd level {seen}");
        yield return new(type, "export", "compression-level", "compression=uncompressed,compression-level=99", "compression", "Uncompressed level 22");
        yield return new(type, "export", "compression-level", "compression-level=5", "compression", "Gzip level 5");
        foreach (var level in new[] { "", "x", "5.0", "0x5", "1_0", " 5", "+", "٣" })
            yield return new(type, "export", "compression-level", "compression-level=" + level, "refused", $"{refused}non-integer value {level} specified for compression-level: strconv.ParseInt: parsing \"{level}\": invalid syntax");
        foreach (var level in new[] { "9223372036854775808", "-9223372036854775809" })
            yield return new(type, "export", "compression-level", "compression-level=" + level, "refused", $"{refused}non-integer value {level} specified for compression-level: strconv.ParseInt: parsing \"{level}\": value out of range");

        foreach (var yes in True.Append(""))
            yield return new(type, "export", "force-compression", "compression=zstd,force-compression=" + yes, "compression", "Zstd forced");
        foreach (var no in False)
            yield return new(type, "export", "force-compression", "force-compression=" + no, "compression", "Gzip");
        foreach (var other in NoBool.Where(text => text.Length > 0))
            yield return new(type, "export", "force-compression", "force-compression=" + other, "refused", $"{refused}non-bool value {other} specified for force-compression: strconv.ParseBool: parsing \"{other}\": invalid syntax");
        // The first that is wrong is told.
        yield return new(type, "export", "compression", "compression=x,force-compression=x,compression-level=x", "refused", $"{refused}unsupported compression type x");
        yield return new(type, "export", "force-compression", "force-compression=x,compression-level=x", "refused", $"{refused}non-bool value x specified for force-compression: strconv.ParseBool: parsing \"x\": invalid syntax");
    }

    private static IEnumerable<AttributeRow> Merge(string type)
    {
        var refused = $"failed to configure {type} cache exporter: {(type == "azblob" ? "failed to create azblob config: " : "")}";
        yield return new(type, "export", "merge", "", "joined", "b");
        foreach (var no in False)
            yield return new(type, "export", "merge", "merge=" + no, "joined", "b");
        foreach (var yes in True)
            yield return new(type, "export", "merge", "merge=" + yes, "joined", "a b");
        foreach (var other in NoBool)
            yield return new(type, "export", "merge", "merge=" + other, "refused", $"{refused}failed to parse merge: strconv.ParseBool: parsing \"{other}\": invalid syntax");
        yield return new(type, "export", "merge", "merge=true", "joined", "a b", Before: "merge=true");
        foreach (var before in new[] { "", "merge=true" })
        {
            yield return new(type, "export", "keep-duration", "merge=true,keep-duration=72h", "joined", "b", Before: before);
            yield return new(type, "export", "keep-duration", "merge=true,keep-duration=100h", "joined", "a b", Before: before);
        }
        foreach (var other in new[] { "", "3", "3d", "soon", "0s", "-1h" })
            yield return new(type, "export", "keep-duration", "merge=true,keep-duration=" + other, "refused", $"{refused}failed to parse keep-duration: \"{other}\" is no duration above zero, for example 72h");
        foreach (var (size, seen) in new[] { ("1500", "b"), ("1KB", "b"), ("1k", "b"), ("2kib", "a b"), ("10GB", "a b"), ("1500b", "b") })
            yield return new(type, "export", "keep-bytes", "merge=true,keep-bytes=" + size, "joined", seen);
        foreach (var other in new[] { "", "x", "-1", "0", "10XB" })
            yield return new(type, "export", "keep-bytes", "merge=true,keep-bytes=" + other, "refused", $"{refused}failed to parse keep-bytes: \"{other}\" is no size above zero, for example 10GB");
        foreach (var attribute in new[] { "keep-duration=72h", "keep-bytes=10GB" })
            yield return new(type, "export", attribute.Split('=')[0], attribute, "refused", $"{refused}keep-duration and keep-bytes need merge=true: without it every export replaces the cache");
    }

    /// <summary>Nothing an inline export is told has an effect: what counts is the image's own.</summary>
    private static IEnumerable<AttributeRow> Inline =>
    [
        new("inline", "export", "", "compression=lzma,compression-level=x,force-compression=x,oci-mediatypes=x,image-manifest=x,merge=x,keep-duration=x,keep-bytes=x,ref=A,dest=", "refused", "accepted"),
        new("inline", "export", "", "compression=zstd", "compression", "Gzip"),
        new("inline", "import", "", "", "refused", "unknown cache importer: inline"),
        new("other", "export", "", "", "refused", "unknown cache exporter: \"other\""),
        new("other", "import", "", "", "refused", "unknown cache importer: other"),
        new("", "export", "", "", "refused", "unknown cache exporter: \"\""),
    ];
}
