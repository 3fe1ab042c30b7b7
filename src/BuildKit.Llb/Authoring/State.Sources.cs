using System.Globalization;
using BuildKit.Oci;

namespace BuildKit.Llb;

/// <content>States that bring files in (spec 02 §11.4).</content>
public partial class State
{
    /// <summary>An image from a registry. The name is completed (<c>alpine</c> is
    /// <c>docker.io/library/alpine:latest</c>); one that cannot be fails when the state is marshalled.</summary>
    public static State Image(string reference, ImageOptions? options = null)
    {
        options ??= new ImageOptions();
        ImageReference? name = null;
        LlbException? error = null;
        try
        {
            name = ImageReference.ParseWithDefaultTag(reference);
        }
        catch (FormatException e)
        {
            error = new LlbException(e.Message, e);
        }

        if (name is null || options.Resolver is not { } resolver)
            return ImageSource(name?.ToString() ?? reference, options, error);
        var keepName = !name.Digest.IsEmpty || !options.ResolveDigest;
        return (keepName ? ImageSource(name.ToString(), options, null) : Scratch).Defer(async (state, marshal, cancellationToken) =>
        {
            var request = new ImageConfigRequest(name, options.Constraints.Platform ?? marshal.Platform ?? Platform.Host, options.ResolveMode);
            var resolved = await resolver.ResolveImageConfigAsync(request, cancellationToken).ConfigureAwait(false);
            if (!keepName)
            {
                var pinned = resolved.Digest.IsEmpty ? resolved.Reference : resolved.Reference.WithDigest(resolved.Digest);
                state = ImageSource(pinned.ToString(), options, null);
            }

            return state.WithImageConfig(resolved.Config.Span);
        });
    }

    /// <summary>A directory of the client, by the name under which the client offers it.</summary>
    public static State Local(string name, LocalOptions? options = null)
    {
        options ??= new LocalOptions();
        var attributes = Attributes();
        var needed = new List<string> { LlbCaps.SourceLocal };
        Add(SourceAttributes.LocalSession, options.SessionId, LlbCaps.SourceLocalSessionId);
        Add(SourceAttributes.LocalIncludePatterns, JsonArray(options.IncludePatterns), LlbCaps.SourceLocalIncludePatterns);
        Add(SourceAttributes.LocalFollowPaths, JsonArray(options.FollowPaths), LlbCaps.SourceLocalFollowPaths);
        Add(SourceAttributes.LocalExcludePatterns, JsonArray(options.ExcludePatterns), LlbCaps.SourceLocalExcludePatterns);
        Add(SourceAttributes.LocalSharedKeyHint, options.SharedKeyHint, LlbCaps.SourceLocalSharedKeyHint);
        Add(SourceAttributes.LocalDiffer, options.Differ, options.DifferRequired ? LlbCaps.SourceLocalDiffer : null);
        return Source("local://" + name, attributes, options.Constraints.Require([.. needed]));

        void Add(string key, string value, string? capability)
        {
            if (value.Length == 0)
                return;
            attributes[key] = value;
            if (capability is not null)
                needed.Add(capability);
        }
    }

    /// <summary>A file fetched over HTTP.</summary>
    public static State Http(string url, HttpOptions? options = null)
    {
        options ??= new HttpOptions();
        var attributes = Attributes();
        var needed = new List<string> { LlbCaps.SourceHttp };
        if (!options.Checksum.IsEmpty)
        {
            attributes[SourceAttributes.HttpChecksum] = options.Checksum.ToString();
            needed.Add(LlbCaps.SourceHttpChecksum);
        }

        if (options.Filename.Length > 0)
            attributes[SourceAttributes.HttpFilename] = options.Filename;
        if ((options.Mode & 0x1ff) is not 0 and var mode)
        {
            attributes[SourceAttributes.HttpPerm] = "0" + Convert.ToString(mode, 8);
            needed.Add(LlbCaps.SourceHttpPerm);
        }

        if (options.Uid != 0)
            attributes[SourceAttributes.HttpUid] = Decimal(options.Uid);
        if (options.Gid != 0)
            attributes[SourceAttributes.HttpGid] = Decimal(options.Gid);
        if (options.Uid != 0 || options.Gid != 0)
            needed.Add(LlbCaps.SourceHttpUidGid);
        return Source(url, attributes, options.Constraints.Require([.. needed]));
    }

    /// <summary>An image in an OCI layout that the client offers; the reference is used as given.</summary>
    public static State OciLayout(string reference, OciLayoutOptions? options = null)
    {
        options ??= new OciLayoutOptions();
        var attributes = Attributes();
        if (options.SessionId.Length > 0)
            attributes[SourceAttributes.OciSession] = options.SessionId;
        if (options.StoreId.Length > 0)
            attributes[SourceAttributes.OciStore] = options.StoreId;
        if (options.LayerLimit is { } limit)
            attributes[SourceAttributes.OciLayerLimit] = Decimal(limit);
        return Source("oci-layout://" + reference, attributes, options.Constraints.Require(LlbCaps.SourceOciLayout));
    }

    /// <summary>A git repository at a reference (branch, tag or commit, optionally <c>:subdirectory</c>).</summary>
    public static State Git(string url, string reference, GitOptions? options = null)
    {
        options ??= new GitOptions();
        var remote = GitUrl.TryParse(url, out var parsed, out var unknownProtocol) ? parsed : null;
        if (unknownProtocol)
        {
            url = "https://" + url;
            remote = GitUrl.TryParse(url, out parsed, out _) ? parsed : null;
        }

        // What cannot be parsed stays as it is: the daemon reports it.
        var identifier = remote is null ? url : remote.Host + SlashPath.Join("/", remote.Path) + (reference.Length > 0 ? "#" + reference : "");
        url = remote?.Remote ?? url;

        var attributes = Attributes();
        var needed = new List<string> { LlbCaps.SourceGit };
        if (options.KeepGitDir)
        {
            attributes[SourceAttributes.GitKeepGitDir] = "true";
            needed.Add(LlbCaps.SourceGitKeepDir);
        }

        if (options.Checksum.Length > 0)
        {
            attributes[SourceAttributes.GitChecksum] = options.Checksum;
            needed.Add(LlbCaps.SourceGitChecksum);
        }

        if (url.Length > 0)
        {
            attributes[SourceAttributes.GitFullUrl] = url;
            needed.Add(LlbCaps.SourceGitFullUrl);
        }

        var explicitSecrets = options.AuthTokenSecret is not null || options.AuthHeaderSecret is not null;
        Secret(SourceAttributes.GitAuthTokenSecret, options.AuthTokenSecret ?? GitOptions.DefaultAuthTokenSecret);
        Secret(SourceAttributes.GitAuthHeaderSecret, options.AuthHeaderSecret ?? GitOptions.DefaultAuthHeaderSecret);
        if (remote?.Scheme == "ssh")
        {
            var hosts = options.KnownSshHosts.Count > 0
                ? string.Concat(options.KnownSshHosts.Select(key => (key.EndsWith('\n') ? key[..^1] : key) + "\n"))
                : options.ScanSshHostKeys?.Invoke(remote.Host);
            if (hosts is not null)
                attributes[SourceAttributes.GitKnownSshHosts] = hosts;
            attributes[SourceAttributes.GitMountSshSock] = options.SshAgentId.Length > 0 ? options.SshAgentId : "default";
            needed.AddRange([LlbCaps.SourceGitKnownSshHosts, LlbCaps.SourceGitMountSshSock]);
        }

        return Source("git://" + identifier, attributes, options.Constraints.Require([.. needed]));

        void Secret(string key, string id)
        {
            if (id.Length == 0)
                return;
            attributes[key] = id;
            if (explicitSecrets)
                needed.Add(LlbCaps.SourceGitHttpAuth);
        }
    }

    private static State ImageSource(string reference, ImageOptions options, LlbException? error)
    {
        var attributes = Attributes();
        var constraints = options.Constraints.Require(LlbCaps.SourceImage);
        if (options.ResolveMode != ImageResolveMode.Default)
        {
            attributes[SourceAttributes.ImageResolveMode] = options.ResolveMode == ImageResolveMode.Pull ? "pull" : "local";

            // Only the mode that is about security needs a daemon that knows it.
            if (options.ResolveMode == ImageResolveMode.Pull)
                constraints = constraints.Require(LlbCaps.SourceImageResolveMode);
        }

        if (options.RecordType.Length > 0)
            attributes[SourceAttributes.ImageRecordType] = options.RecordType;
        if (options.LayerLimit is { } limit)
        {
            attributes[SourceAttributes.ImageLayerLimit] = Decimal(limit);
            constraints = constraints.Require(LlbCaps.SourceImageLayerLimit);
        }

        return New(new SourceVertex("docker-image://" + reference, attributes, constraints, error).Output);
    }

    private static State Source(string identifier, SortedDictionary<string, string> attributes, OpConstraints constraints) =>
        New(new SourceVertex(identifier, attributes, constraints).Output);

    private static SortedDictionary<string, string> Attributes() => new(ByteOrder.Instance);

    private static string Decimal(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static string JsonArray(IReadOnlyList<string> texts)
    {
        if (texts.Count == 0)
            return "";
        var json = new CanonicalJsonWriter();
        json.WriteStartArray();
        foreach (var text in texts)
            json.WriteString(text);
        json.WriteEndArray();
        return System.Text.Encoding.UTF8.GetString(json.WrittenSpan);
    }
}
