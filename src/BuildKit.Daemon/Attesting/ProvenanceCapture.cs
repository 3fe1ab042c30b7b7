using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Sources;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Daemon.Attesting;

/// <summary>An image that went into a build.</summary>
/// <param name="Reference">Its name, with tag or digest.</param>
/// <param name="Platform">Which of its platforms; null when nobody said.</param>
/// <param name="Digest">What it was; may be empty.</param>
/// <param name="IsLocal">Whether it came from a client's layout.</param>
public sealed record CapturedImage(string Reference, Platform? Platform, Digest Digest, bool IsLocal)
{
    /// <summary>Whether both tell of the same image; features of the system never tell images apart.</summary>
    public bool IsSameAs(CapturedImage other) => Reference == other.Reference && IsLocal == other.IsLocal && IsSame(Platform, other.Platform);

    private static bool IsSame(Platform? one, Platform? other) => one is null || other is null
        ? one is null && other is null
        : one.Architecture == other.Architecture && one.Os == other.Os && one.OsVersion == other.OsVersion && one.Variant == other.Variant;
}

/// <summary>A commit that went into a build.</summary>
/// <param name="Url">Address without credentials, <c>#ref</c> included.</param>
/// <param name="Commit">What it was.</param>
public sealed record CapturedCommit(string Url, string Commit);

/// <summary>A file of a web server that went into a build.</summary>
/// <param name="Url">Address without credentials.</param>
/// <param name="Digest">What it was.</param>
public sealed record CapturedFile(string Url, Digest Digest);

/// <summary>What went into a result (spec 07 §9.2). Values of secrets are never looked at.</summary>
public sealed class ProvenanceCapture
{
    private readonly List<CapturedImage> _images = [];
    private readonly List<CapturedCommit> _commits = [];
    private readonly List<CapturedFile> _files = [];
    private readonly SortedSet<string> _locals = new(ByteOrder.Instance);
    private readonly SortedDictionary<string, bool> _secrets = new(ByteOrder.Instance);
    private readonly SortedDictionary<string, bool> _sshAgents = new(ByteOrder.Instance);

    /// <summary>The frontend that made it; empty for none.</summary>
    public string Frontend { get; private set; } = "";

    /// <summary>The frontend's options, those left out that only matter on one machine; credentials in addresses of contexts
    /// are masked.</summary>
    public IReadOnlyDictionary<string, string> Arguments { get; private set; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Images, by name.</summary>
    public IReadOnlyList<CapturedImage> Images => [.. _images.OrderBy(image => image.Reference, ByteOrder.Instance)];

    /// <summary>Commits, by address.</summary>
    public IReadOnlyList<CapturedCommit> Commits => [.. _commits.OrderBy(commit => commit.Url, ByteOrder.Instance)];

    /// <summary>Files of web servers, by address.</summary>
    public IReadOnlyList<CapturedFile> Files => [.. _files.OrderBy(file => file.Url, ByteOrder.Instance)];

    /// <summary>Names of directories of the client.</summary>
    public IReadOnlyCollection<string> Locals => _locals;

    /// <summary>Ids of secrets that were asked for, and whether the build goes on without them.</summary>
    public IReadOnlyDictionary<string, bool> Secrets => _secrets;

    /// <summary>Ids of the client's ssh agents that were asked for, and whether the build goes on without them.</summary>
    public IReadOnlyDictionary<string, bool> SshAgents => _sshAgents;

    /// <summary>Whether a step could reach a network.</summary>
    public bool HasNetworkAccess { get; private set; }

    /// <summary>Whether something went in that is not listed.</summary>
    public bool IsIncomplete { get; private set; }

    /// <summary>Notes an operation of the result.</summary>
    public void Add(Vertex vertex, IOperation operation)
    {
        if (operation is SourceOperation source)
        {
            Add(source.Material, source.Pin);
            return;
        }
        if (vertex.Operation is not LlbVertex llb)
            return;
        if (llb.Op.Exec is { } exec)
            Add(exec);
        else if (llb.Op.OpCase == Op.OpOneofCase.Build)
            IsIncomplete = true; // what the definition it builds takes in is not followed
    }

    /// <summary>Notes an image somebody asked about.</summary>
    public void Add(CapturedImage image)
    {
        if (!_images.Exists(image.IsSameAs))
            _images.Add(image);
    }

    /// <summary>Notes what another result took in.</summary>
    public void Merge(ProvenanceCapture other)
    {
        foreach (var image in other._images)
            Add(image);
        foreach (var commit in other._commits)
            Add(commit);
        foreach (var file in other._files)
            Add(file);
        _locals.UnionWith(other._locals);
        foreach (var (id, isOptional) in other._secrets)
            Add(_secrets, id, isOptional);
        foreach (var (id, isOptional) in other._sshAgents)
            Add(_sshAgents, id, isOptional);
        HasNetworkAccess |= other.HasNetworkAccess;
        IsIncomplete |= other.IsIncomplete;
    }

    /// <summary>Notes the frontend and its options.</summary>
    public void SetRequest(FrontendRequest request)
    {
        Frontend = request.Frontend;
        Arguments = FrontendArguments.Of(request.Options);
        IsIncomplete |= request.HasInputs;
    }

    /// <summary>Leaves out an image named by its digest where its tag is listed too: a frontend asks for the tag and then
    /// builds on what it found.</summary>
    /// <exception cref="FormatException">A name of an image is none.</exception>
    public void OmitPinnedTwins()
    {
        var tags = _images.Select(image => ImageReference.Parse(image.Reference)).Where(reference => reference.Digest.IsEmpty).Select(TagOf).ToHashSet(StringComparer.Ordinal);
        _images.RemoveAll(image => ImageReference.Parse(image.Reference) is { Digest.IsEmpty: false } reference && tags.Contains(TagOf(reference)));

        static string TagOf(ImageReference reference) => $"{reference.Name}:{(reference.Tag.Length > 0 ? reference.Tag : "latest")}";
    }

    private void Add(SourceMaterial material, string pin)
    {
        switch (material)
        {
            case LocalMaterial local:
                _locals.Add(local.Name);
                break;
            case ImageMaterial image when Digest.TryParse(pin, out var digest):
                Add(new CapturedImage(image.Reference, image.Platform, digest, image.IsLocal));
                break;
            case HttpMaterial http when Digest.TryParse(pin, out var digest):
                Add(new CapturedFile(RedactedUrl.Of(http.Url), digest));
                break;
            case GitMaterial git when pin.Length > 0:
                Add(new CapturedCommit(RedactedUrl.Of(git.Url), pin));
                foreach (var secret in git.Secrets)
                    Add(_secrets, secret, isOptional: true);
                if (git.SshAgentId.Length > 0)
                    Add(_sshAgents, git.SshAgentId, isOptional: true);
                break;
            default:
                IsIncomplete = true; // it was not looked up, so nobody can say what it was
                break;
        }
    }

    private void Add(ExecOp exec)
    {
        foreach (var mount in exec.Mounts)
        {
            if (mount.MountType == MountType.Secret)
                Add(_secrets, mount.SecretOpt?.ID ?? "", mount.SecretOpt?.Optional ?? false);
            else if (mount.MountType == MountType.Ssh)
                Add(_sshAgents, mount.SSHOpt?.ID is { Length: > 0 } id ? id : "default", mount.SSHOpt?.Optional ?? false);
        }
        foreach (var secret in exec.Secretenv)
            Add(_secrets, secret.ID, secret.Optional);
        HasNetworkAccess |= exec.Network != NetMode.None;
    }

    private void Add(CapturedCommit commit)
    {
        if (!_commits.Exists(known => known.Url == commit.Url))
            _commits.Add(commit);
    }

    private void Add(CapturedFile file)
    {
        if (!_files.Exists(known => known.Url == file.Url))
            _files.Add(file);
    }

    private static void Add(SortedDictionary<string, bool> accesses, string id, bool isOptional) =>
        accesses[id] = isOptional && accesses.GetValueOrDefault(id, true);
}

/// <summary>Options of frontends as provenance lists them.</summary>
public static class FrontendArguments
{
    private const string ContextKey = "context";

    /// <summary>The option that names the build context.</summary>
    public static string ContextOption(IReadOnlyDictionary<string, string> options) => options.GetValueOrDefault("contextkey", "") is { Length: > 0 } key ? key : ContextKey;

    /// <summary>The options that say what was built, without those that only say where and with which caches.</summary>
    public static IReadOnlyDictionary<string, string> Of(IReadOnlyDictionary<string, string> options)
    {
        var context = ContextOption(options);
        var arguments = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in options)
        {
            if (key is "cgroup-parent" or "image-resolve-mode" or "platform" or "cache-imports" || key.StartsWith("attest:", StringComparison.Ordinal))
                continue;
            var isContext = key == context || key == ContextKey || key.StartsWith(ContextKey + ":", StringComparison.Ordinal);
            arguments.Add(key, isContext && !NamesImage(value) ? RedactedUrl.Of(value) : value);
        }
        return arguments;
    }

    /// <summary>In the name of an image, a digest follows the <c>@</c>.</summary>
    private static bool NamesImage(string context) =>
        context.StartsWith("docker-image://", StringComparison.Ordinal) || context.StartsWith("oci-layout://", StringComparison.Ordinal);
}
