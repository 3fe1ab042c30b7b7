namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>The caches without manifests: <c>gha</c>, <c>s3</c> and <c>azblob</c>.</summary>
internal static partial class AttributeTable
{
    private const string Blob = "refs/heads/main buildkit-blob-1-sha256:#";
    private const string V2Host = "https://results-receiver.actions.githubusercontent.com";

    private static IEnumerable<AttributeRow> Actions
    {
        get
        {
            foreach (var side in Both)
            {
                var refused = $"failed to configure gha cache {side}er: ";
                AttributeRow Row(string attribute, string given, string facet, string expected) => new("gha", side, attribute, given, facet, expected, Before: "nothing");
                AttributeRow Refused(string attribute, string given, string error) => Row(attribute, given, "refused", refused + error);
                yield return Refused("token", "-token", "token not set for github actions cache");
                yield return Refused("token", "-token,-url", "token not set for github actions cache");
                yield return Refused("token", "token=", "token is malformed: token contains an invalid number of segments");
                yield return Refused("token", "token=a.b", "token is malformed: token contains an invalid number of segments");
                yield return Row("token", "", "identities", "Bearer $TOKEN");
                yield return Refused("url", "-url", "url not set for github actions cache");
                yield return Refused("url", "url=", "url not set for github actions cache");
                yield return Refused("url", "url=h", "url of github actions cache is not a valid http or https URL: h");
                yield return Refused("url", "url=ftp://h/", "url of github actions cache is not a valid http or https URL: ftp://h/");
                yield return Row("url", "", "places", "http://@");
                yield return Row("url", "url=http://@", "places", "http://@"); // the slash at its end is added
                yield return Refused("url_v2", "-url,version=1,url_v2=http://@/", "url not set for github actions cache");
                yield return Refused("url_v2", "url_v2=,-url", "url not set for github actions cache");
                // The second version has its own address; the first one's is nobody's here.
                yield return Row("url_v2", "url=http://one.example/,url_v2=http://@/", "places", "http://@");
                yield return Row("url_v2", "url=http://@/,url_v2=http://two.example/,version=1", "places", "http://@");
                foreach (var value in new[] { "two", "", "1.0", " 1", "0x1" })
                    yield return Refused("version", "version=" + value, $"failed to parse api version \"{value}\", expected positive integer: strconv.ParseInt: parsing \"{value}\": invalid syntax");
                yield return Refused("version", "version=9223372036854775808", "failed to parse api version \"9223372036854775808\", expected positive integer: strconv.ParseInt: parsing \"9223372036854775808\": value out of range");
                foreach (var value in new[] { "0", "1", "2", "+2", "-3" })
                    yield return Row("version", "version=" + value, "places", "http://@");
                yield return Refused("timeout", "timeout=soon", "failed to parse timeout for github actions cache: time: invalid duration \"soon\"");
                yield return Refused("timeout", "timeout=", "failed to parse timeout for github actions cache: time: invalid duration \"\"");
                yield return Refused("timeout", "timeout=10", "failed to parse timeout for github actions cache: time: missing unit in duration \"10\"");
                yield return Refused("timeout", "timeout=1q", "failed to parse timeout for github actions cache: time: unknown unit \"q\" in duration \"1q\"");
                yield return Row("timeout", "", "timeout", "00:10:00");
                yield return Row("timeout", "timeout=1m30s", "timeout", "00:01:30");
                yield return Row("timeout", "timeout=0s", "timeout", "00:05:00");
                yield return Row("timeout", "timeout=-1s", "timeout", "-00:00:01");
                yield return Row("timeout", "timeout=-1s", side == "export" ? "stored" : "found", side == "export" ? $"{Blob} | refs/heads/main index-buildkit-1-f921bd05#1" : "nothing");
                // Neither alone changes anything; the list is for exports.
                yield return Row("repository", "repository=o/r", "places", "http://@");
                yield return Row("ghtoken", "ghtoken=gh", "places", "http://@");
                yield return Row("ghtoken", "repository=o/r,ghtoken=gh", "identities", side == "export" ? "Bearer $TOKEN Bearer gh" : "Bearer $TOKEN");
                yield return Row("repository", "repository=o/r,ghtoken=gh", "places", side == "export" ? "http://@ https://api.github.com" : "http://@");
            }
            yield return new("gha", "import", "timeout", "", "patience", "00:05:00");
            yield return new("gha", "import", "timeout", "timeout=10s", "patience", "00:00:50");
            yield return new("gha", "import", "timeout", "timeout=20m", "patience", "00:05:00");
            yield return new("gha", "export", "scope", "", "stored", $"{Blob} | refs/heads/main index-buildkit-1-f921bd05#1");
            yield return new("gha", "export", "scope", "scope=a b&ü", "stored", $"{Blob} | refs/heads/main index-a b&ü-1-f921bd05#1");
            yield return new("gha", "export", "scope", "scope=", "stored", $"{Blob} | refs/heads/main index--1-f921bd05#1");
            yield return new("gha", "import", "scope", "", "found", "the result");
            yield return new("gha", "import", "scope", "scope=s", "found", "the result", Before: "scope=s");
            yield return new("gha", "import", "scope", "scope=s", "found", "nothing", Before: "scope=");
            yield return new("gha", "import", "url", $"url={V2Host}/", "places", V2Host);
            yield return new("gha", "import", "version", $"url={V2Host}/,version=1", "places", V2Host);
            yield return new("gha", "import", "version", "version=2", "found", "the result", Before: "version=2");
            yield return new("gha", "import", "url_v2", "url_v2=http://@/", "found", "the result", Before: "-url,url_v2=http://@/");
        }
    }

    private static IEnumerable<AttributeRow> S3
    {
        get
        {
            foreach (var side in Both)
            {
                AttributeRow Row(string attribute, string given, string facet, string expected, string environment = "") => new("s3", side, attribute, given, facet, expected, environment, Before: "nothing");
                AttributeRow Refused(string attribute, string given, string error) => Row(attribute, given, "refused", $"failed to configure s3 cache {side}er: {error}");
                yield return Refused("bucket", "-bucket,-region", "bucket ($AWS_BUCKET) not set for s3 cache");
                yield return Refused("bucket", "-bucket", "bucket ($AWS_BUCKET) not set for s3 cache");
                yield return Refused("region", "-region", "region ($AWS_REGION) not set for s3 cache");
                foreach (var value in new[] { "", "0", "-2", "4.5", "four", "99999999999999999999" })
                    yield return Refused("upload_parallelism", "upload_parallelism=" + value, "upload_parallelism must be a positive integer");
                foreach (var value in new[] { "1", "+7", "5000000000" })
                    yield return Row("upload_parallelism", "upload_parallelism=" + value, "refused", "accepted");
                foreach (var row in Timeout("s3", side, ""))
                    yield return row;
                yield return Refused("endpoint_url", "endpoint_url=ftp://x", "endpoint_url is not a valid http or https URL: ftp://x");
                yield return Refused("endpoint_url", "endpoint_url=localhost", "endpoint_url is not a valid http or https URL: localhost");
                yield return Row("endpoint_url", "", "places", "http://@");
                yield return Row("endpoint_url", "endpoint_url=https://store.example:9000/sub,use_path_style=true", "places", "https://store.example:9000");
                yield return Row("endpoint_url", "endpoint_url=", "places", "https://bkt.s3.eu-west-9.amazonaws.com");
                yield return Row("endpoint_url", "-endpoint_url", "places", "https://bkt.s3.eu-west-9.amazonaws.com");
                yield return Row("endpoint_url", "-endpoint_url", "places", "http://bkt.general.example", "AWS_ENDPOINT_URL=http://general.example");
                yield return Row("endpoint_url", "-endpoint_url", "places", "http://bkt.special.example", "AWS_ENDPOINT_URL=http://general.example,AWS_ENDPOINT_URL_S3=http://special.example");
                foreach (var value in True)
                    yield return Row("use_path_style", "endpoint_url=http://store.example,use_path_style=" + value, "places", "http://store.example");
                foreach (var value in False.Concat(NoBool))
                    yield return Row("use_path_style", "endpoint_url=http://store.example,use_path_style=" + value, "places", "http://bkt.store.example");
                yield return Row("use_path_style", "-endpoint_url,use_path_style=true", "places", "https://bkt.s3.eu-west-9.amazonaws.com"); // only together with an endpoint
                yield return Row("bucket", "endpoint_url=http://store.example,use_path_style=,bucket=other", "places", "http://other.store.example");
                yield return Row("bucket", "endpoint_url=http://store.example,use_path_style=,-bucket", "places", "http://env.store.example", "AWS_BUCKET=env");
                yield return Row("bucket", "endpoint_url=http://store.example,use_path_style=", "places", "http://bkt.store.example", "AWS_BUCKET=env");
                yield return Row("region", "-endpoint_url,region=cn-north-1", "places", "https://bkt.s3.cn-north-1.amazonaws.com.cn");
                yield return Row("region", "-endpoint_url,-region", "places", "https://bkt.s3.us-east-9.amazonaws.com", "AWS_REGION=us-east-9");
                yield return Row("access_key_id", "", "identities", "AWS4-HMAC-SHA256 Credential=AK");
                yield return Row("access_key_id", "access_key_id=other", "identities", "AWS4-HMAC-SHA256 Credential=other");
                // One of the pair alone is none: the daemon's own identity.
                const string Own = "AWS_ACCESS_KEY_ID=ENV,AWS_SECRET_ACCESS_KEY=s,AWS_SESSION_TOKEN=ENVTOKEN";
                yield return Row("access_key_id", "-access_key_id", "identities", "AWS4-HMAC-SHA256 Credential=ENV ENVTOKEN", Own);
                yield return Row("access_key_id", "access_key_id=", "identities", "AWS4-HMAC-SHA256 Credential=ENV ENVTOKEN", Own);
                yield return Row("secret_access_key", "-secret_access_key", "identities", "AWS4-HMAC-SHA256 Credential=ENV ENVTOKEN", Own);
                yield return Row("secret_access_key", "", "identities", "AWS4-HMAC-SHA256 Credential=AK", Own);
                yield return Row("session_token", "session_token=ST", "identities", "AWS4-HMAC-SHA256 Credential=AK ST", Own);
                yield return Row("session_token", "-secret_access_key,session_token=ST", "identities", "AWS4-HMAC-SHA256 Credential=ENV ENVTOKEN", Own);
            }
            foreach (var (attribute, given, blob, manifests) in new[]
            {
                ("prefix", "", "/bkt/blobs/sha256%3A#", "/bkt/manifests/buildkit"),
                ("prefix", "prefix=p/", "/bkt/p/blobs/sha256%3A#", "/bkt/p/manifests/buildkit"),
                ("prefix", "prefix=p", "/bkt/pblobs/sha256%3A#", "/bkt/pmanifests/buildkit"),
                ("blobs_prefix", "blobs_prefix=b-", "/bkt/b-sha256%3A#", "/bkt/manifests/buildkit"),
                ("blobs_prefix", "blobs_prefix=", "/bkt/sha256%3A#", "/bkt/manifests/buildkit"),
                ("manifests_prefix", "manifests_prefix=m/", "/bkt/blobs/sha256%3A#", "/bkt/m/buildkit"),
                ("name", "name=n1;n2", "/bkt/blobs/sha256%3A#", "/bkt/manifests/n1 | /bkt/manifests/n2"),
                ("name", "name=", "/bkt/blobs/sha256%3A#", "/bkt/manifests/"),
            })
            {
                yield return new("s3", "export", attribute, given, "stored", Sorted($"{blob} | {manifests}"));
                yield return new("s3", "import", attribute, given, "found", "the result", Before: given);
            }
            yield return new("s3", "import", "prefix", "prefix=p/", "found", "nothing");
            yield return new("s3", "import", "manifests_prefix", "manifests_prefix=m/", "found", "nothing");
            yield return new("s3", "import", "name", "name=n1;n2", "found", "nothing", Before: "name=n2"); // only the first one is read
            yield return new("s3", "export", "upload_parallelism", "", "at once", "4");
            yield return new("s3", "export", "upload_parallelism", "upload_parallelism=1", "at once", "1");
            yield return new("s3", "export", "upload_parallelism", "upload_parallelism=9", "at once", "9");
            foreach (var (value, seen) in new[] { ("24h", "after a day"), ("23h59m", "after a day"), ("0", "after a day"), ("soon", "after a day"), ("", "after a day"), ("48h", "not after a day") })
            {
                yield return new("s3", "export", "touch_refresh", "touch_refresh=" + value, "touched", seen);
                yield return new("s3", "import", "touch_refresh", "touch_refresh=" + value, "found", "the result");
            }
        }
    }

    private static IEnumerable<AttributeRow> Azure
    {
        get
        {
            const string Variables = "BUILDKIT_AZURE_STORAGE_";
            foreach (var side in Both)
            {
                AttributeRow Row(string attribute, string given, string facet, string expected, string environment = "") => new("azblob", side, attribute, given, facet, expected, environment, Before: "nothing");
                AttributeRow Refused(string attribute, string given, string error) => Row(attribute, given, "refused", $"failed to configure azblob cache {side}er: {error}");
                const string NoName = "failed to create azblob config: unable to retrieve account name from account url or ${BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME} or account_name attribute for azblob cache";
                yield return Refused("account_url", "-account_url", "failed to create azblob config: either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache");
                yield return Refused("account_url", "account_url=,-account_name", NoName);
                yield return Refused("account_url", "account_url=acct.example,-account_name", NoName);
                yield return Refused("account_url", "account_url=acct.example", "failed to create azblob config: azure storage account url provided is not a valid url: parse \"acct.example\": not an absolute http or https URL");
                yield return Row("account_url", "account_url=https://a.blob.example/", "places", "https://a.blob.example");
                yield return Row("account_url", "-account_url", "places", "https://env.blob.example", Variables + "ACCOUNT_URL=https://env.blob.example");
                yield return Refused("account_name", "account_name=", NoName);
                yield return Row("account_name", "", "identities", "SharedKey acct");
                yield return Row("account_name", "-account_name,account_url=https://first.blob.example", "identities", "SharedKey first");
                yield return Row("account_name", "-account_name,account_url=https://first.blob.example", "identities", "SharedKey env", Variables + "ACCOUNT_NAME=env");
                yield return Row("account_name", "", "identities", "SharedKey acct", Variables + "ACCOUNT_NAME=env");
                yield return Refused("secret_access_key", "secret_access_key=%", "failed to create container client: failed to create shared key: decode account key: illegal base64 data");
                yield return Refused("secret_access_key", "secret_access_key=", "failed to create container client: failed to get properties of cache container buildkit-cache: authenticated requests are not permitted for non TLS protected (https) endpoints");
                yield return Refused("secret_access_key", "-secret_access_key,container=c", "failed to create container client: failed to get properties of cache container c: authenticated requests are not permitted for non TLS protected (https) endpoints");
                foreach (var row in Timeout("azblob", side, "failed to create azblob config: "))
                    yield return row;
            }
            foreach (var (attribute, given, environment, blob, manifests) in new[]
            {
                ("prefix", "", "", "/az/buildkit-cache/blobs%2Fsha256:#", "/az/buildkit-cache/manifests%2Fbuildkit"),
                ("prefix", "prefix=p", "", "/az/buildkit-cache/p%2Fblobs%2Fsha256:#", "/az/buildkit-cache/p%2Fmanifests%2Fbuildkit"),
                ("prefix", "prefix=p//./q/../", "", "/az/buildkit-cache/p%2Fblobs%2Fsha256:#", "/az/buildkit-cache/p%2Fmanifests%2Fbuildkit"),
                ("prefix", "", Variables + "PREFIX=env", "/az/buildkit-cache/env%2Fblobs%2Fsha256:#", "/az/buildkit-cache/env%2Fmanifests%2Fbuildkit"),
                ("prefix", "prefix=", Variables + "PREFIX=env", "/az/buildkit-cache/blobs%2Fsha256:#", "/az/buildkit-cache/manifests%2Fbuildkit"),
                ("blobs_prefix", "blobs_prefix=b", "", "/az/buildkit-cache/b%2Fsha256:#", "/az/buildkit-cache/manifests%2Fbuildkit"),
                ("blobs_prefix", "blobs_prefix=", "", "/az/buildkit-cache/sha256:#", "/az/buildkit-cache/manifests%2Fbuildkit"),
                ("manifests_prefix", "manifests_prefix=m/n", "", "/az/buildkit-cache/blobs%2Fsha256:#", "/az/buildkit-cache/m%2Fn%2Fbuildkit"),
                ("name", "name=n1;n2", "", "/az/buildkit-cache/blobs%2Fsha256:#", "/az/buildkit-cache/manifests%2Fn1 | /az/buildkit-cache/manifests%2Fn2"),
                ("container", "container=c1", "", "/az/c1/blobs%2Fsha256:#", "/az/c1/manifests%2Fbuildkit"),
                ("container", "", Variables + "CONTAINER=env", "/az/env/blobs%2Fsha256:#", "/az/env/manifests%2Fbuildkit"),
                ("container", "container=c1", Variables + "CONTAINER=env", "/az/c1/blobs%2Fsha256:#", "/az/c1/manifests%2Fbuildkit"),
            })
            {
                yield return new("azblob", "export", attribute, given, "stored", Sorted($"{blob} | {manifests}"), environment);
                yield return new("azblob", "import", attribute, given, "found", given.StartsWith("name", StringComparison.Ordinal) ? "2 results" : "the result", environment, Before: given);
            }
            yield return new("azblob", "import", "prefix", "prefix=p", "found", "nothing");
            yield return new("azblob", "import", "manifests_prefix", "manifests_prefix=m", "found", "nothing");
            yield return new("azblob", "import", "name", "name=n1;n2", "found", "the result", Before: "name=n2"); // all are read
        }
    }

    private static string Sorted(string keys) => string.Join(" | ", keys.Split(" | ").Order(StringComparer.Ordinal));

    private static IEnumerable<AttributeRow> Timeout(string type, string side, string prefix)
    {
        var refused = $"failed to configure {type} cache {side}er: {prefix}failed to parse timeout for {type} cache: ";
        foreach (var (value, error) in new[]
        {
            ("soon", "time: invalid duration \"soon\""), ("", "time: invalid duration \"\""), ("1", "time: missing unit in duration \"1\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""), ("0s", "0s is not above zero"), ("-1m", "-1m is not above zero"),
        })
            yield return new(type, side, "timeout", "timeout=" + value, "refused", refused + error);
        yield return new(type, side, "timeout", "", "timeout", "00:01:00");
        yield return new(type, side, "timeout", "timeout=1m30s", "timeout", "00:01:30");
        if (side == "export")
            yield break;
        yield return new(type, side, "timeout", "", "patience", "00:05:00");
        yield return new(type, side, "timeout", "timeout=30s", "patience", "00:02:30");
    }
}
