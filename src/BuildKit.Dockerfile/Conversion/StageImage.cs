using BuildKit.Dockerfile.Parsing;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>
/// The image configuration of a stage while its instructions are applied. The maps (labels, ports, volumes) are
/// shared by a stage and the stages built on it once they exist: a label set in one shows in all (spec 05 §15,
/// trap 24). Config digests depend on it.
/// </summary>
internal sealed class StageImage
{
    private const string HistoryComment = "buildkit.dockerfile.v0";

    public Rfc3339Time? Created { get; set; }

    public string Author { get; set; } = "";

    public Platform Platform { get; set; } = new("", "");

    public string RootFsType { get; init; } = "";

    public IReadOnlyList<Digest> DiffIds { get; init; } = [];

    public HistoryList History { get; private set; }

    public string User { get; set; } = "";

    public SortedSet<string>? ExposedPorts { get; set; }

    public List<string> Env { get; init; } = [];

    public IReadOnlyList<string> Entrypoint { get; set; } = [];

    public IReadOnlyList<string> Cmd { get; set; } = [];

    public SortedSet<string>? Volumes { get; set; }

    public string WorkingDir { get; set; } = "";

    public Dictionary<string, string>? Labels { get; set; }

    public string StopSignal { get; set; } = "";

    public bool ArgsEscaped { get; set; }

    public HealthcheckConfig? Healthcheck { get; set; }

    public List<string> OnBuild { get; set; } = [];

    public IReadOnlyList<string> Shell { get; set; } = [];

    /// <summary>The search path of images that have none.</summary>
    public static string DefaultPath(string os) => os is "windows"
        ? @"c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0"
        : ImageConfig.DefaultUnixPath;

    /// <summary>The image of an empty stage.</summary>
    public static StageImage Empty(Platform platform) => new()
    {
        Platform = platform,
        RootFsType = "layers",
        WorkingDir = "/",
        Env = ["PATH=" + DefaultPath(platform.Os)],
    };

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="DockerfileException">It is none.</exception>
    public static StageImage Parse(byte[] json)
    {
        ImageConfig image;
        try
        {
            image = ImageConfig.Parse(json);
        }
        catch (FormatException e)
        {
            throw new DockerfileException($"failed to parse image config: {e.Message}", e);
        }
        var config = image.Config;
        return new StageImage
        {
            Created = image.Created,
            Author = image.Author,
            Platform = image.Platform,
            RootFsType = image.RootFsType,
            DiffIds = image.DiffIds,
            History = HistoryList.From(image.History),
            User = config.User,
            ExposedPorts = config.ExposedPorts.Count == 0 ? null : new SortedSet<string>(config.ExposedPorts, ByteOrder.Instance),
            Env = [.. config.Env],
            Entrypoint = config.Entrypoint,
            Cmd = config.Cmd,
            Volumes = config.Volumes.Count == 0 ? null : new SortedSet<string>(config.Volumes, ByteOrder.Instance),
            WorkingDir = config.WorkingDir,
            Labels = config.Labels.Count == 0 ? null : new Dictionary<string, string>(config.Labels, StringComparer.Ordinal),
            StopSignal = config.StopSignal,
            ArgsEscaped = config.ArgsEscaped,
            Healthcheck = config.Healthcheck,
            OnBuild = [.. config.OnBuild],
            Shell = config.Shell,
        };
    }

    /// <summary>A copy for a stage built on this one; maps stay shared.</summary>
    public StageImage Derive() => new()
    {
        Created = Created,
        Author = Author,
        Platform = Platform,
        RootFsType = RootFsType,
        DiffIds = DiffIds,
        History = History,
        User = User,
        ExposedPorts = ExposedPorts,
        Env = [.. Env],
        Entrypoint = Entrypoint,
        Cmd = Cmd,
        Volumes = Volumes,
        WorkingDir = WorkingDir,
        Labels = Labels,
        StopSignal = StopSignal,
        ArgsEscaped = ArgsEscaped,
        Healthcheck = Healthcheck,
        OnBuild = [.. OnBuild],
        Shell = Shell,
    };

    /// <summary>Sets a variable; an existing one keeps its place.</summary>
    public void SetEnv(string name, string value)
    {
        var index = Env.FindIndex(e => string.Equals(e.Split('=', 2)[0], name, StringComparison.Ordinal));
        if (index >= 0)
            Env[index] = $"{name}={value}";
        else
            Env.Add($"{name}={value}");
    }

    /// <summary>Adds a step to the history.</summary>
    public void AddHistory(string createdBy, bool hasLayer, Rfc3339Time? created) => History = History.Add(new HistoryEntry
    {
        Created = created,
        CreatedBy = createdBy,
        Comment = HistoryComment,
        EmptyLayer = !hasLayer,
    });

    /// <summary>The configuration as the frontend hands it on (spec 05 §7.1).</summary>
    public byte[] ToJson() => new ImageConfig
    {
        Created = Created,
        Author = Author,
        Platform = Platform,
        RootFsType = RootFsType,
        DiffIds = DiffIds,
        History = History.Entries,
        Config = new ContainerConfig
        {
            User = User,
            ExposedPorts = ExposedPorts ?? [],
            Env = Env,
            Entrypoint = Entrypoint,
            Cmd = Cmd,
            Volumes = Volumes ?? [],
            WorkingDir = WorkingDir,
            Labels = Labels ?? [],
            StopSignal = StopSignal,
            ArgsEscaped = ArgsEscaped,
            Healthcheck = Healthcheck,
            OnBuild = OnBuild,
            Shell = Shell,
        },
    }.ToFrontendJson();
}
