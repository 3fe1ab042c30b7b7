using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Annotated;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>What the attributes of an s3 cache say (spec 04 §8.5).</summary>
internal sealed record S3Config : ObjectStoreConfig
{
    private static readonly TimeSpan Day = TimeSpan.FromHours(24);

    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    private S3Config(StoreAttributes attributes)
        : base(attributes, "s3", "blobs/", "manifests/")
    {
        Bucket = attributes.Find("bucket", "AWS_BUCKET") ?? throw new FormatException("bucket ($AWS_BUCKET) not set for s3 cache");
        Region = attributes.Find("region", "AWS_REGION") ?? throw new FormatException("region ($AWS_REGION) not set for s3 cache");
        // Documented: what cannot be read counts as not given.
        TouchRefresh = GoDuration.TryParse(attributes.Find("touch_refresh") ?? "", out var touch) ? touch : Day;
        EndpointUrl = attributes.Find("endpoint_url") ?? "";
        UsePathStyle = GoSyntax.ParseBool(attributes.Find("use_path_style") ?? "") == true;
        AccessKeyId = attributes.Find("access_key_id") ?? "";
        SessionToken = attributes.Find("session_token") ?? "";
        if (attributes.Find("upload_parallelism") is { } number)
        {
            UploadParallelism = GoSyntax.ParseInt(number, out _) is > 0 and var workers
                ? (int)Math.Min(workers, int.MaxValue)
                : throw new FormatException("upload_parallelism must be a positive integer");
        }
    }

    public string Bucket { get; }

    public string Region { get; }

    /// <summary>Age from which a blob that is used again is made young again, for stores that expire what is old.</summary>
    public TimeSpan TouchRefresh { get; }

    public string EndpointUrl { get; }

    public bool UsePathStyle { get; }

    public string AccessKeyId { get; }

    public string SessionToken { get; }

    /// <summary>Layers sent at once.</summary>
    public int UploadParallelism { get; } = 4;

    /// <summary>Reads attributes; the daemon's environment fills in bucket and region.</summary>
    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    public static S3Config Read(IReadOnlyDictionary<string, string> attributes, Func<string, string?> environment) => new(new StoreAttributes(attributes, environment));

    public override string BlobKey(Digest digest) => Prefix + BlobsPrefix + digest;

    public override string ManifestKey(string name) => Prefix + ManifestsPrefix + name;

    /// <summary>Where writers leave their own caches for a name in stores that know no conditions.</summary>
    public string PartsPrefix(string name) => ManifestKey(name) + ".parts/";
}
