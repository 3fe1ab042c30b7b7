using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Worker.Ops.Digests;

/// <summary>Cache key of a command (spec 03 §8.3).</summary>
public static class ExecDigest
{
    /// <summary>Computes the key.</summary>
    /// <param name="exec">The operation; not changed.</param>
    /// <param name="platform">Its normalised platform.</param>
    /// <param name="inputCount">How many inputs the vertex has.</param>
    /// <exception cref="LlbException">A mount names an input that does not exist, or asks for content caching where it
    /// cannot be.</exception>
    public static OpKey Compute(ExecOp exec, Platform platform, int inputCount)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteText("Type", "buildkit.exec.v0");
        json.WriteName("Exec");
        LlbJson.Write(json, Reduced(exec));
        PlatformFields.Write(json, platform);
        json.WriteEndObject();
        return new OpKey(Digest.Sha256(json.WrittenSpan), Inputs(exec, inputCount)) { Hashed = json.ToArray() };
    }

    /// <summary>The operation without what may differ between equal runs: addresses behind host names, which part of
    /// an input is mounted (the selector says it), names of caches, proxies.</summary>
    private static ExecOp Reduced(ExecOp exec)
    {
        var reduced = exec.Clone();
        if (reduced.Meta is { } meta)
        {
            meta.ProxyEnv = null;
            foreach (var host in meta.ExtraHosts)
                host.IP = "";
        }

        foreach (var mount in reduced.Mounts)
        {
            mount.Selector = "";
            if (mount.CacheOpt is { } cache && !IsDefault(cache, mount.Dest))
                mount.CacheOpt = new CacheOpt();
        }

        if (reduced.Mounts is [{ Dest: "/", Readonly: false, MountType: MountType.Bind, CacheOpt: null, SSHOpt: null, SecretOpt: null, ResultID: "" }])
            reduced.Mounts.Clear();
        return reduced;
    }

    /// <summary>Whether a cache has the id that a Dockerfile gives it when none is written: the target, behind a
    /// namespace and a slash.</summary>
    private static bool IsDefault(CacheOpt cache, string target) =>
        cache.Sharing == CacheSharingOpt.Shared
        && (cache.ID == target || (cache.ID.IndexOf('/', StringComparison.Ordinal) is >= 0 and var slash && cache.ID[(slash + 1)..] == target));

    private static InputKey[] Inputs(ExecOp exec, int inputCount)
    {
        var paths = new List<string>?[inputCount];
        var content = new bool[inputCount];
        foreach (var mount in exec.Mounts)
        {
            if (mount.Input == -1 || mount.MountType is MountType.Secret or MountType.Ssh or MountType.Tmpfs)
                continue;
            if (mount.Input < 0 || mount.Input >= inputCount)
                throw new LlbException($"invalid mountinput input:{mount.Input} dest:{GoSyntax.Quote(mount.Dest)}");
            var path = SlashPath.Join("/", mount.Selector);
            (paths[mount.Input] ??= []).Add(path);
            content[mount.Input] = ReadsContent(mount, path);
        }

        return [.. paths.Select((selected, i) => new InputKey
        {
            NeedsUnlazy = true,
            Selector = selected is null ? default : Digest.Sha256(string.Join('\0', selected)),
            Content = selected is not null && content[i] ? Content(selected) : null,
        })];
    }

    /// <summary>Whether a mount's content may stand for its definition: only if the command cannot pass on what it
    /// does not see.</summary>
    private static bool ReadsContent(Mount mount, string path)
    {
        var possible = mount.Output == -1 || mount.Readonly || path == "/";
        return mount.ContentCache switch
        {
            MountContentCache.Off => false,
            MountContentCache.On => possible
                ? true
                : throw new LlbException($"invalid mount cache content input:{mount.Input} dest:{GoSyntax.Quote(mount.Dest)} output:{mount.Output}"),
            _ => possible && mount.Dest != "/",
        };
    }

    private static IReadOnlyList<ContentSelector> Content(List<string> selected)
    {
        var paths = SelectorPaths.Dedupe(selected);
        return paths.Any(path => path is "" or "/")
            ? [new ContentSelector("", FollowLinks: false)]
            : [.. paths.Select(path => new ContentSelector(path, FollowLinks: true))];
    }
}

/// <summary>The platform as hashed documents hold it.</summary>
internal static class PlatformFields
{
    public static void Write(CanonicalJsonWriter json, Platform platform)
    {
        json.WriteName("OS");
        json.WriteString(platform.Os);
        json.WriteName("Arch");
        json.WriteString(platform.Architecture);
        json.WriteText("Variant", platform.Variant);
        json.WriteText("OSVersion", platform.OsVersion);
        json.WriteStrings("OSFeatures", platform.OsFeatures);
    }
}

/// <summary>Lists of selected paths.</summary>
internal static class SelectorPaths
{
    /// <summary>Paths that no other path of the list contains, each once, sorted.</summary>
    public static IReadOnlyList<string> Dedupe(IReadOnlyList<string> paths)
    {
        if (paths.Count <= 1)
            return paths;
        var unique = paths.Distinct(StringComparer.Ordinal).Order(ByteOrder.Instance).ToArray();
        return [.. unique.Where(path => !unique.Any(other => other != path && Contains(other, path)))];
    }

    private static bool Contains(string directory, string path) =>
        path.StartsWith(directory.EndsWith('/') ? directory : directory + "/", StringComparison.Ordinal);
}
