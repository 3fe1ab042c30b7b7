using System.Globalization;
using BuildKit.CommandLine;
using BuildKit.Oci;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>What the attributes of an s3 cache say (spec 04 §8.5). An attribute that is there counts, even when empty.</summary>
internal sealed record S3Config
{
    private const string Positive = "upload_parallelism must be a positive integer";

    public required string Bucket { get; init; }

    public required string Region { get; init; }

    public string Prefix { get; init; } = "";

    public string BlobsPrefix { get; init; } = "blobs/";

    public string ManifestsPrefix { get; init; } = "manifests/";

    public IReadOnlyList<string> Names { get; init; } = ["buildkit"];

    /// <summary>Age from which a blob that is used again is made young again, for stores that expire what is old.</summary>
    public TimeSpan TouchRefresh { get; init; } = TimeSpan.FromHours(24);

    public string EndpointUrl { get; init; } = "";

    public bool UsePathStyle { get; init; }

    public string AccessKeyId { get; init; } = "";

    public string SecretAccessKey { get; init; } = "";

    public string SessionToken { get; init; } = "";

    public int UploadParallelism { get; init; } = 4;

    /// <summary>How long the store may be silent.</summary>
    public TimeSpan Timeout { get; init; } = TransferPolicy.Default.Silence;

    public CompressionOptions Compression { get; init; } = CompressionOptions.Default;

    /// <summary>How an export joins what is there; null when it replaces it.</summary>
    public MergeOptions? Merge { get; init; }

    /// <summary>Reads attributes; the daemon's environment fills in bucket and region.</summary>
    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    public static S3Config Read(IReadOnlyDictionary<string, string> attributes, Func<string, string?> environment)
    {
        string Get(string name, string fallback = "") => attributes.TryGetValue(name, out var value) ? value : fallback;
        return new S3Config
        {
            Bucket = attributes.GetValueOrDefault("bucket") ?? environment("AWS_BUCKET") ?? throw new FormatException("bucket ($AWS_BUCKET) not set for s3 cache"),
            Region = attributes.GetValueOrDefault("region") ?? environment("AWS_REGION") ?? throw new FormatException("region ($AWS_REGION) not set for s3 cache"),
            Prefix = Get("prefix"),
            BlobsPrefix = Get("blobs_prefix", "blobs/"),
            ManifestsPrefix = Get("manifests_prefix", "manifests/"),
            Names = Get("name", "buildkit").Split(';'),
            // Documented: what cannot be read counts as not given.
            TouchRefresh = GoDuration.TryParse(Get("touch_refresh"), out var touch) ? touch : TimeSpan.FromHours(24),
            EndpointUrl = Get("endpoint_url"),
            UsePathStyle = GoSyntax.ParseBool(Get("use_path_style")) == true,
            AccessKeyId = Get("access_key_id"),
            SecretAccessKey = Get("secret_access_key"),
            SessionToken = Get("session_token"),
            UploadParallelism = !attributes.TryGetValue("upload_parallelism", out var number) ? 4
                : int.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var workers) && workers > 0 ? workers
                : throw new FormatException(Positive),
            Timeout = CacheAttributes.Timeout(attributes, "s3"),
            Compression = CacheAttributes.Compression(attributes),
            Merge = MergeOptions.Read(attributes),
        };
    }

    public string BlobKey(Digest digest) => Prefix + BlobsPrefix + digest;

    public string ManifestKey(string name) => Prefix + ManifestsPrefix + name;

    /// <summary>Where writers leave their own caches for a name in stores that know no conditions.</summary>
    public string PartsPrefix(string name) => ManifestKey(name) + ".parts/";
}
