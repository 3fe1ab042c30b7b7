using System.Net;
using System.Text.Json;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>The options of a frontend call, read and checked (spec 05 §9).</summary>
public sealed record FrontendOptions
{
    private const string BuildArg = "build-arg:";

    /// <summary>All options as given.</summary>
    public required IReadOnlyDictionary<string, string> All { get; init; }

    /// <summary>Build arguments.</summary>
    public required IReadOnlyDictionary<string, string> BuildArgs { get; init; }

    /// <summary>Labels for the image.</summary>
    public required IReadOnlyDictionary<string, string> Labels { get; init; }

    /// <summary>Sessions of local directories by name.</summary>
    public required IReadOnlyDictionary<string, string> LocalSessions { get; init; }

    /// <summary>Platform the build runs on.</summary>
    public required Platform BuildPlatform { get; init; }

    /// <summary>Platforms asked for; empty for the build platform.</summary>
    public IReadOnlyList<Platform> TargetPlatforms { get; init; } = [];

    /// <summary>Whether results are keyed by platform.</summary>
    public bool MultiPlatform { get; init; }

    /// <summary>Where images may come from.</summary>
    public ImageResolveMode ResolveMode { get; init; }

    /// <summary>Lines for <c>/etc/hosts</c>.</summary>
    public IReadOnlyList<KeyValuePair<string, IPAddress>> ExtraHosts { get; init; } = [];

    /// <summary>Size of <c>/dev/shm</c> in bytes; 0 for the default.</summary>
    public long ShmSize { get; init; }

    /// <summary>Resource limits.</summary>
    public IReadOnlyList<UlimitSetting> Ulimits { get; init; } = [];

    /// <summary>Network of commands that choose none.</summary>
    public NetMode Network { get; init; }

    /// <summary>Stages not answered from cache; empty for all, null for none.</summary>
    public IReadOnlyList<string>? NoCache { get; init; }

    /// <summary>Caches to import.</summary>
    public IReadOnlyList<CacheImport> CacheImports { get; init; } = [];

    /// <summary>Seconds since 1970 that times are set to.</summary>
    public long? SourceDateEpoch { get; init; }

    /// <summary>Bill of materials asked for.</summary>
    public SbomRequest? Sbom { get; init; }

    /// <summary>Check options that replace those of the Dockerfile.</summary>
    public LintOptions? Lint { get; init; }

    /// <summary>Name space of cache mounts.</summary>
    public string CacheNamespace => Option("build-arg:BUILDKIT_CACHE_MOUNT_NS");

    /// <summary>Parent cgroup of containers.</summary>
    public string CgroupParent => Option("cgroup-parent");

    /// <summary>Stage asked for.</summary>
    public string Target => Option("target");

    /// <summary>Host name of containers.</summary>
    public string Hostname => Option("build-arg:BUILDKIT_SANDBOX_HOSTNAME") is { Length: > 0 } sandbox ? sandbox : Option("hostname");

    /// <summary>The mode as the daemon is told it.</summary>
    public string ResolveModeName => ResolveMode switch { ImageResolveMode.Pull => "pull", ImageResolveMode.PreferLocal => "local", _ => "default" };

    /// <summary>An option; empty when it is not given.</summary>
    public string Option(string name) => All.GetValueOrDefault(name, "");

    /// <summary>Whether a stage is not answered from cache.</summary>
    public bool IgnoresCacheOf(string stage) =>
        NoCache is not null && (NoCache.Count == 0 || NoCache.Contains(stage, StringComparer.OrdinalIgnoreCase));

    /// <summary>Reads the options.</summary>
    /// <exception cref="DockerfileException">One is invalid.</exception>
    public static FrontendOptions Parse(FrontendBuildOptions build)
    {
        var opts = build.Opts;
        if (build.LlbCaps.Explain(LlbCaps.FileBase) is { } missing)
            throw new DockerfileException($"needs BuildKit 0.5 or later: {missing}");
        if (opts.GetValueOrDefault("override-copy-image", "").Length > 0)
            throw new DockerfileException("support for \"override-copy-image\" was removed in BuildKit 0.11");
        if (GoNumber.ParseBool(opts.GetValueOrDefault("build-arg:BUILDKIT_DISABLE_FILEOP", "")) is true)
            throw new DockerfileException("support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11");

        string Get(string name) => opts.GetValueOrDefault(name, "");
        var options = new FrontendOptions
        {
            All = opts,
            BuildArgs = WithPrefix(opts, BuildArg),
            Labels = WithPrefix(opts, "label:"),
            LocalSessions = WithPrefix(opts, "local-sessionid:"),
            BuildPlatform = build.WorkerPlatforms.Count > 0 ? build.WorkerPlatforms[0] : Platform.Host.Normalize(),
            TargetPlatforms = Platforms(Get("platform")),
        };
        options = options with { ResolveMode = Mode(Get("image-resolve-mode")) };
        options = options with { ExtraHosts = Within("failed to parse additional hosts", () => Hosts(Get("add-hosts"))) };
        options = options with { ShmSize = Within("failed to parse shm size", () => Get("shm-size") is { Length: > 0 } size ? GoNumber.ParseInt(size) : 0) };
        options = options with { Ulimits = Within("failed to parse ulimit", () => ParseUlimits(Get("ulimit"))) };
        options = options with { Network = NetworkMode(Get("force-network-mode")) };
        options = options with { NoCache = opts.TryGetValue("no-cache", out var noCache) ? noCache.Length == 0 ? [] : noCache.Split(',') : null };
        options = options with { MultiPlatform = KeyedResults(Get("build-arg:BUILDKIT_MULTI_PLATFORM") is { Length: > 0 } wins ? wins : Get("multi-platform"), options.TargetPlatforms.Count) };
        options = options with { CacheImports = Caches(Get("cache-imports"), Get("cache-from")) };
        options = options with { SourceDateEpoch = Get("build-arg:SOURCE_DATE_EPOCH") is { Length: > 0 } epoch ? Within($"invalid SOURCE_DATE_EPOCH: {epoch}", () => GoNumber.ParseInt(epoch)) : null };
        options = options with { Sbom = AttestationOptions.Parse(opts).Sbom is { } sbom ? SbomRequest.Of(sbom, "scanner") : null };
        return opts.TryGetValue("build-arg:BUILDKIT_DOCKERFILE_CHECK", out var check)
            ? options with { Lint = Within("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK", () => LintOptions.Parse(check)) }
            : options;
    }

    private static T Within<T>(string what, Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (DockerfileException e)
        {
            throw new DockerfileException($"{what}: {e.Message}", e);
        }
    }

    private static SortedDictionary<string, string> WithPrefix(IReadOnlyDictionary<string, string> opts, string prefix)
    {
        var found = new SortedDictionary<string, string>(ByteOrder.Instance);
        foreach (var (key, value) in opts)
        {
            if (key.StartsWith(prefix, StringComparison.Ordinal))
                found[key[prefix.Length..]] = value;
        }
        return found;
    }

    private static List<Platform> Platforms(string text)
    {
        var platforms = new List<Platform>();
        foreach (var specifier in text.Length == 0 ? [] : text.Split(','))
        {
            try
            {
                platforms.Add(Platform.Parse(specifier).Normalize());
            }
            catch (FormatException e)
            {
                throw new DockerfileException($"failed to parse target platform {specifier}: {e.Message}", e);
            }
        }
        return platforms;
    }

    private static ImageResolveMode Mode(string text) => text switch
    {
        "" or "default" => ImageResolveMode.Default,
        "pull" => ImageResolveMode.Pull,
        "local" => ImageResolveMode.PreferLocal,
        _ => throw new DockerfileException($"invalid image-resolve-mode: {text}"),
    };

    private static List<KeyValuePair<string, IPAddress>> Hosts(string text)
    {
        var hosts = new List<KeyValuePair<string, IPAddress>>();
        foreach (var field in CsvRecord.Fields(text))
        {
            var lower = field.ToLowerInvariant();
            var equal = lower.IndexOf('=', StringComparison.Ordinal);
            if (equal < 0)
                throw new DockerfileException($"invalid key-value pair {field}");
            var address = IpAddressText.Parse(lower[(equal + 1)..])
                ?? throw new DockerfileException($"failed to parse IP {lower[(equal + 1)..]}");
            hosts.Add(new(lower[..equal], address));
        }
        return hosts;
    }

    private static List<UlimitSetting> ParseUlimits(string text)
    {
        var limits = new List<UlimitSetting>();
        foreach (var field in CsvRecord.Fields(text))
        {
            var equal = field.IndexOf('=', StringComparison.Ordinal);
            if (equal < 0)
                throw new DockerfileException($"invalid ulimit argument: {field}");
            var name = field[..equal];
            if (name is not ("core" or "cpu" or "data" or "fsize" or "locks" or "memlock" or "msgqueue" or "nice" or "nofile" or "nproc" or "rss" or "rtprio" or "rttime" or "sigpending" or "stack"))
                throw new DockerfileException($"invalid ulimit type: {name}");
            limits.Add(Ulimit(name, field[(equal + 1)..]));
        }
        return limits;
    }

    private static UlimitSetting Ulimit(string name, string value)
    {
        var limits = value.Split(':');
        if (limits.Length > 2)
            throw new DockerfileException($"too many limit value arguments - {value}, can only have up to two, `soft[:hard]`");
        var hard = limits.Length == 2 ? GoNumber.ParseInt(limits[1]) : (long?)null;
        var soft = GoNumber.ParseInt(limits[0]);
        if (hard is { } top and not -1 && (soft == -1 || soft > top))
        {
            throw new DockerfileException(soft == -1
                ? $"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {top}"
                : $"ulimit soft limit must be less than or equal to hard limit: {soft} > {top}");
        }
        return new UlimitSetting(name, soft, hard ?? soft);
    }

    private static NetMode NetworkMode(string text) => text switch
    {
        "" or "sandbox" => NetMode.Unset,
        "none" => NetMode.None,
        "host" => NetMode.Host,
        _ => throw new DockerfileException($"invalid netmode {text}"),
    };

    private static bool KeyedResults(string text, int platforms)
    {
        if (text.Length == 0)
            return platforms > 1;
        var keyed = GoNumber.ParseBool(text) ?? throw new DockerfileException($"invalid boolean value for multi-platform: {text}");
        return keyed || platforms <= 1
            ? keyed
            : throw new DockerfileException("conflicting config: returning multiple target platforms is not allowed");
    }

    private static List<CacheImport> Caches(string imports, string from)
    {
        var caches = new List<CacheImport>();
        if (imports.Length > 0)
        {
            try
            {
                using var json = JsonDocument.Parse(imports);
                foreach (var entry in json.RootElement.EnumerateArray())
                    caches.Add(Cache(entry));
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException)
            {
                throw new DockerfileException($"failed to unmarshal cache-imports ({GoQuote.Quote(imports)}): {e.Message}", e);
            }
        }
        foreach (var reference in from.Length == 0 ? [] : from.Split(','))
            caches.Add(new CacheImport("registry", new Dictionary<string, string>(StringComparer.Ordinal) { ["ref"] = reference }));
        return caches;
    }

    private static CacheImport Cache(JsonElement entry)
    {
        var type = "";
        var attributes = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var property in entry.EnumerateObject())
        {
            if (string.Equals(property.Name, "Type", StringComparison.OrdinalIgnoreCase))
                type = property.Value.GetString() ?? "";
            else if (string.Equals(property.Name, "Attrs", StringComparison.OrdinalIgnoreCase) && property.Value.ValueKind == JsonValueKind.Object)
                attributes = property.Value.EnumerateObject().ToDictionary(static a => a.Name, static a => a.Value.GetString() ?? "", StringComparer.Ordinal);
        }
        return new CacheImport(type, attributes);
    }
}

/// <summary>Addresses in text form.</summary>
internal static class IpAddressText
{
    /// <summary>An IPv4 address of four decimal parts, or an IPv6 address without zone; null otherwise.</summary>
    public static IPAddress? Parse(string text)
    {
        if (text.Contains(':', StringComparison.Ordinal))
            return !text.AsSpan().ContainsAny("%[]") && IPAddress.TryParse(text, out var six) ? six : null;
        var parts = text.Split('.');
        var valid = parts.Length == 4 && parts.All(static p => p.Length is 1 or 2 or 3 && !p.AsSpan().ContainsAnyExceptInRange('0', '9') && (p.Length == 1 || p[0] != '0'));
        return valid && IPAddress.TryParse(text, out var four) ? four : null;
    }
}
