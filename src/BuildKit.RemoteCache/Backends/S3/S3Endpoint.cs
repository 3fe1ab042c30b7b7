using System.Net;
using System.Text.RegularExpressions;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>Where the objects of a bucket are: Amazon's host of the region, or a given endpoint; the bucket in front of the
/// host where a host name may hold it, else in the path.</summary>
internal sealed partial class S3Endpoint
{
    private readonly string _base;

    /// <summary>Finds the URL of a bucket.</summary>
    /// <param name="bucket">Name of the bucket.</param>
    /// <param name="region">Region, for Amazon's own host.</param>
    /// <param name="endpointUrl">A given endpoint; empty for Amazon's.</param>
    /// <param name="usePathStyle">Always put the bucket into the path.</param>
    /// <exception cref="FormatException">The endpoint is no URL.</exception>
    public S3Endpoint(string bucket, string region, string endpointUrl, bool usePathStyle)
    {
        var text = endpointUrl.Length > 0 ? endpointUrl : $"https://s3.{region}.{Domain(region)}";
        if (!Uri.TryCreate(text, UriKind.Absolute, out var url) || url.Scheme is not ("http" or "https"))
            throw new FormatException($"endpoint_url is not a valid http or https URL: {text}");
        var path = url.AbsolutePath.TrimEnd('/');
        var inHost = !usePathStyle && HostName().IsMatch(bucket) && !IPAddress.TryParse(bucket, out _) && !IPAddress.TryParse(url.IdnHost.Trim('[', ']'), out _)
            && (url.Scheme == "http" || !bucket.Contains('.', StringComparison.Ordinal));
        _base = inHost ? $"{url.Scheme}://{bucket}.{url.Authority}{path}" : $"{url.Scheme}://{url.Authority}{path}/{UrlEncoding.Encode(bucket, "")}";
    }

    /// <summary>URL of an object, every byte of it as it is signed.</summary>
    public string Object(string key, string query = "") => $"{_base}/{UrlEncoding.Encode(key, "/")}{(query.Length > 0 ? "?" + query : "")}";

    /// <summary>URL of the bucket itself.</summary>
    public string Bucket(string query) => $"{_base}/?{query}";

    /// <summary>Domain of Amazon's services in a region's partition.</summary>
    internal static string Domain(string region) => region switch
    {
        _ when region.StartsWith("cn-", StringComparison.Ordinal) => "amazonaws.com.cn",
        _ when region.StartsWith("us-isob-", StringComparison.Ordinal) => "sc2s.sgov.gov",
        _ when region.StartsWith("us-isof-", StringComparison.Ordinal) => "csp.hci.ic.gov",
        _ when region.StartsWith("us-iso-", StringComparison.Ordinal) => "c2s.ic.gov",
        _ when region.StartsWith("eu-isoe-", StringComparison.Ordinal) => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    };

    [GeneratedRegex(@"^[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]\z", RegexOptions.CultureInvariant)]
    private static partial Regex HostName();
}
