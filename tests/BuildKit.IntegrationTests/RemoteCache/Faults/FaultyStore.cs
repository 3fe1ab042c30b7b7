using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.Faults;

/// <summary>A kind of store behind a proxy that does harm: how a cache in it is named, and which requests mean what.</summary>
public abstract class FaultyStore(string name, FaultProxy proxy)
{
    /// <summary>Name of the kind; that of the tests' cases.</summary>
    public string Name => name;

    /// <summary>What stands before the store.</summary>
    public FaultProxy Proxy => proxy;

    /// <summary>Environment of clients that use the store.</summary>
    public virtual IReadOnlyDictionary<string, string?> Environment { get; } = new Dictionary<string, string?>(StringComparer.Ordinal);

    /// <summary>Attributes of the cache at a place of its own, for export and import.</summary>
    public abstract string Cache(string place);

    /// <summary>What people know the import of the cache by begins so.</summary>
    public abstract string KnownAs(string place);

    /// <summary>The attribute that makes an import notice silence after so many seconds.</summary>
    public virtual string Patience(int seconds) => $",timeout={seconds}s";

    /// <summary>Name of the export's step.</summary>
    public abstract string Step { get; }

    /// <summary>Whether a request reads the bytes of a layer whose digest ends in such hex digits; all layers when that is empty.</summary>
    public abstract bool ReadsLayer(ProxiedRequest request, string hex);

    /// <summary>Whether a request writes bytes of a layer.</summary>
    public abstract bool WritesLayer(ProxiedRequest request);

    /// <summary>Whether a request reads the documents that say what the cache holds.</summary>
    public abstract bool ReadsList(ProxiedRequest request);

    /// <summary>Whether a request writes the last document, which makes the export visible.</summary>
    public abstract bool WritesList(ProxiedRequest request);

    /// <summary>From the first such request on, what proved the client's identity is not accepted any more. Returns whether another
    /// proof can be had, so that the transfer goes on.</summary>
    public abstract bool Expire(Func<ProxiedRequest, bool> from);

    /// <summary>Lets time pass at a store that keeps reservations of writers that died.</summary>
    public virtual void ForgetReservations()
    {
    }

    public override string ToString() => name;
}

/// <summary>A registry that gives tokens.</summary>
public sealed class FaultyTokenRegistry(FaultProxy proxy, DockerRegistry registry, string dockerConfig) : FaultyStore("registry", proxy)
{
    public override IReadOnlyDictionary<string, string?> Environment { get; } = new Dictionary<string, string?>(StringComparer.Ordinal) { ["DOCKER_CONFIG"] = dockerConfig };

    /// <summary>How many tokens were given.</summary>
    public int Tokens
    {
        get
        {
            lock (registry.TokenRequests)
                return registry.TokenRequests.Count;
        }
    }

    public override string Cache(string place) => $"type=registry,ref={Proxy.Host}/{place}:v1";

    public override string KnownAs(string place) => $"{Proxy.Host}/{place}:v1";

    // Here it limits the silence of the whole import; that of a connection is half of it. Tokens take their time too.
    public override string Patience(int seconds) => $",timeout={seconds + 5}s";

    public override string Step => "exporting cache to registry";

    public override bool ReadsLayer(ProxiedRequest request, string hex) => request.Method == "GET" && request.Target.Contains("/blobs/sha256:", StringComparison.Ordinal) && request.Target.EndsWith(hex, StringComparison.Ordinal);

    public override bool WritesLayer(ProxiedRequest request) => request.Method == "PUT" && request.Target.Contains("/blobs/uploads/", StringComparison.Ordinal);

    public override bool ReadsList(ProxiedRequest request) => request.Method is "GET" && request.Target.Contains("/manifests/", StringComparison.Ordinal);

    public override bool WritesList(ProxiedRequest request) => request.Method == "PUT" && request.Target.Contains("/manifests/", StringComparison.Ordinal);

    public override bool Expire(Func<ProxiedRequest, bool> from)
    {
        string? expired = null;
        Proxy.Inject(
            request =>
            {
                if (expired is null && from(request))
                    expired = request.Header("Authorization");
                return expired is not null && request.Header("Authorization") == expired;
            },
            new Fault.Answer(401)
            {
                Headers = new Dictionary<string, string>(StringComparer.Ordinal)
                {
                    ["WWW-Authenticate"] = $"Bearer realm=\"{registry.TokenRealm}\",service=\"{DockerRegistry.Service}\",error=\"invalid_token\"",
                },
            },
            times: 1000);
        return true;
    }
}

/// <summary>A bucket whose keys the daemon reads from a file.</summary>
public sealed class FaultyBucket(FaultProxy proxy, string credentialsFile) : FaultyStore("s3", proxy)
{
    private int _sessions;

    public override string Cache(string place) => $"type=s3,endpoint_url=http://{Proxy.Host},use_path_style=true,bucket=bkt,region=us-east-1,prefix={place}/";

    public override string KnownAs(string place) => "s3:";

    public override string Step => "exporting cache to Amazon S3";

    public override bool ReadsLayer(ProxiedRequest request, string hex) => request.Method == "GET" && request.Target.Contains("/blobs/", StringComparison.Ordinal) && request.Target.Split('?')[0].EndsWith(hex, StringComparison.Ordinal);

    public override bool WritesLayer(ProxiedRequest request) => request.Method == "PUT" && request.Target.Contains("/blobs/", StringComparison.Ordinal);

    public override bool ReadsList(ProxiedRequest request) => request.Method == "GET" && request.Target.Contains("/manifests/", StringComparison.Ordinal);

    public override bool WritesList(ProxiedRequest request) => request.Method == "PUT" && request.Target.Contains("/manifests/", StringComparison.Ordinal);

    /// <summary>Writes the file with keys of another session.</summary>
    public void NewSession()
    {
        // In one step, as whoever renews such files does it.
        File.WriteAllText(
            credentialsFile + ".new", $"[default]\naws_access_key_id = S3RVER\naws_secret_access_key = S3RVER\naws_session_token = session-{Interlocked.Increment(ref _sessions)}\n");
        File.Move(credentialsFile + ".new", credentialsFile, overwrite: true);
    }

    public override bool Expire(Func<ProxiedRequest, bool> from)
    {
        const string Token = "X-Amz-Security-Token";
        string? expired = null;
        Proxy.Inject(
            request =>
            {
                if (expired is null && from(request))
                {
                    expired = request.Header(Token);
                    NewSession();
                }
                return expired is not null && request.Header(Token) == expired;
            },
            new Fault.Answer(400, "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"), times: 1000);
        return true;
    }
}

/// <summary>A container of the blob service, with the account's key.</summary>
public sealed class FaultyContainer(FaultProxy proxy) : FaultyStore("azblob", proxy)
{
    public override string Cache(string place) =>
        $"type=azblob,account_url=http://{Proxy.Host}/{ObjectStore.AzureAccount},account_name={ObjectStore.AzureAccount},secret_access_key={ObjectStore.AzureKey},prefix={place}";

    public override string KnownAs(string place) => "azblob:";

    public override string Step => "exporting cache to Azure Blob Storage";

    public override bool ReadsLayer(ProxiedRequest request, string hex) => request.Method == "GET" && request.Target.Contains("blobs%2F", StringComparison.Ordinal) && request.Target.EndsWith(hex, StringComparison.Ordinal);

    public override bool WritesLayer(ProxiedRequest request) => request.Method == "PUT" && request.Target.Contains("blobs%2F", StringComparison.Ordinal);

    public override bool ReadsList(ProxiedRequest request) => request.Method == "GET" && request.Target.Contains("manifests%2F", StringComparison.Ordinal);

    public override bool WritesList(ProxiedRequest request) => request.Method == "PUT" && request.Target.Contains("manifests%2F", StringComparison.Ordinal);

    public override bool Expire(Func<ProxiedRequest, bool> from)
    {
        var isExpired = false;
        Proxy.Inject(
            request => isExpired |= from(request),
            new Fault.Answer(403, "<Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate the request.</Message></Error>")
            {
                Headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["x-ms-error-code"] = "AuthenticationFailed" },
            },
            times: 1000);
        return false; // an account's key is what it is
    }
}

/// <summary>One version of GitHub's cache service.</summary>
public sealed class FaultyActions(FaultProxy proxy, ActionsService service, int version) : FaultyStore("gha" + version, proxy)
{
    private readonly string _token = service.IssueToken(("refs/heads/main", 3));

    public override string Cache(string place) => $"type=gha,{(version == 2 ? "url_v2" : "url")}=http://{Proxy.Host}/,version={version},token={_token},scope={place}-{Name}";

    public override string KnownAs(string place) => "gha:";

    public override string Step => "exporting to GitHub Actions Cache";

    public override bool ReadsLayer(ProxiedRequest request, string hex) => request.Method == "GET" && service.IsAbout(request, key => IsLayer(key) && key.EndsWith(hex, StringComparison.Ordinal));

    public override bool WritesLayer(ProxiedRequest request) => request.Method is "PUT" or "PATCH" && service.IsAbout(request, IsLayer);

    public override bool ReadsList(ProxiedRequest request) => request.Method == "GET" && service.IsAbout(request, key => !IsLayer(key));

    public override bool WritesList(ProxiedRequest request) => request.Method is "PUT" or "PATCH" && service.IsAbout(request, key => !IsLayer(key));

    public override bool Expire(Func<ProxiedRequest, bool> from)
    {
        // What version 1 takes goes through the service itself, with the job's token.
        var isExpired = false;
        Proxy.Inject(request => isExpired |= version == 1 && WritesLayer(request) && from(request), new Fault.Answer(401, """{"message":"Unauthorized"}"""), times: 1000);
        Proxy.Inject(
            request => from(request),
            new Fault.Before(() =>
            {
                service.ExpireAddresses();
                return Task.CompletedTask;
            }));
        return true; // another address is given to readers; writers have the one of their reservation
    }

    public override void ForgetReservations()
    {
        var written = service.Entries.Select(entry => entry.Split(' ')[^1]).ToHashSet(StringComparer.Ordinal);
        service.Evict(key => !written.Contains(key));
    }

    private static bool IsLayer(string key) => key.StartsWith("buildkit-blob-", StringComparison.Ordinal);
}
