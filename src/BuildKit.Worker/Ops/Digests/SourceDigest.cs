using System.Globalization;
using System.Text.Json;
using BuildKit.Llb;
using BuildKit.Oci;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Worker.Ops.Digests;

/// <summary>Keys of sources, and the digests made of them (spec 03 §8.5).</summary>
public static class SourceDigest
{
    private const string SessionPrefix = "session:";

    /// <summary>The digest of a source's key. Sources that belong to one session get a digest of their own kind,
    /// which is never exported.</summary>
    public static Digest FromKey(string key)
    {
        var digest = Digest.Sha256("buildkit.source.v0:" + key);
        return key.StartsWith(SessionPrefix, StringComparison.Ordinal) ? Digest.Unchecked("random:" + digest.Hex) : digest;
    }

    /// <summary>First key of an image: what its name refers to. The name itself does not count.</summary>
    /// <param name="manifest">Digest of the referenced manifest or index.</param>
    /// <param name="platform">Normalised platform.</param>
    /// <param name="layerLimit">How many layers are used; null for all.</param>
    public static string ImageManifestKey(Digest manifest, Platform platform, int? layerLimit = null)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteName("Digest");
        json.WriteString(manifest.ToString());
        PlatformFields.Write(json, platform);
        json.WriteNonZero("Limit", layerLimit ?? 0);
        json.WriteEndObject();
        return Digest.Sha256(json.WrittenSpan).ToString();
    }

    /// <summary>Last key of an image: what its layers contain.</summary>
    /// <param name="config">The image configuration.</param>
    /// <param name="manifestKey">The image's first key, which stays when the configuration lists no layers.</param>
    /// <param name="layerLimit">How many layers are used; null for all.</param>
    /// <exception cref="LlbException">There is a limit, and it is larger than the number of layers or their number is not
    /// known.</exception>
    public static string ImageConfigKey(ReadOnlySpan<byte> config, string manifestKey, int? layerLimit = null)
    {
        if (DiffIds(config) is not { } diffIds)
            return layerLimit is null ? Digest.Sha256(config).ToString() : throw new LlbException("failed to parse image config");
        if (layerLimit is { } limit)
        {
            if (limit > diffIds.Count)
                throw new LlbException($"image has {diffIds.Count} layers, limit is {limit}");
            diffIds = diffIds.GetRange(0, limit);
        }

        return diffIds.Count == 0 ? manifestKey : ChainId(diffIds).ToString();
    }

    /// <summary>Digest of a stack of layers.</summary>
    public static Digest ChainId(IReadOnlyList<Digest> diffIds)
    {
        if (diffIds.Count == 0)
            return default;
        var chain = diffIds[0];
        for (var i = 1; i < diffIds.Count; i++)
            chain = Digest.Sha256($"{chain} {diffIds[i]}");
        return chain;
    }

    /// <summary>Key of a file fetched over HTTP.</summary>
    /// <param name="filename">Name of the file in the result.</param>
    /// <param name="perm">Permission bits as asked for.</param>
    /// <param name="uid">Owner.</param>
    /// <param name="gid">Group.</param>
    /// <param name="checksum">Digest of the body.</param>
    /// <param name="lastModified">The answer's Last-Modified header as it came; empty when the checksum was asked for.</param>
    public static string HttpKey(string filename, int perm, int uid, int gid, Digest checksum, string lastModified)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteName("Filename");
        json.WriteString(filename);
        json.WriteName("Perm");
        json.WriteNumber((long)perm);
        json.WriteName("UID");
        json.WriteNumber((long)uid);
        json.WriteName("GID");
        json.WriteNumber((long)gid);
        json.WriteName("Checksum");
        json.WriteString(checksum.ToString());
        json.WriteText("LastModTime", lastModified);
        json.WriteEndObject();
        return Digest.Sha256(json.WrittenSpan).ToString();
    }

    /// <summary>Key of a git commit.</summary>
    /// <param name="commit">The commit, 40 hex digits.</param>
    /// <param name="keepGitDir">Whether <c>.git</c> is kept.</param>
    /// <param name="reference">The full reference the commit was found under; counts only with <c>.git</c>.</param>
    /// <param name="subdirectory">Subdirectory, as written; empty for none.</param>
    public static string GitKey(string commit, bool keepGitDir = false, string reference = "", string subdirectory = "") =>
        commit
        + (keepGitDir ? ".git" + (reference.Length > 0 ? "#" + reference : "") : "")
        + (subdirectory.Length > 0 ? ":" + subdirectory : "");

    /// <summary>Key of a directory of a client. It holds for one session only.</summary>
    /// <param name="name">Name of the directory; see <see cref="LocalSession"/>.</param>
    /// <param name="sessionId">The session that has it.</param>
    /// <param name="includePatterns">Patterns, null when not given.</param>
    /// <param name="excludePatterns">Patterns, null when not given.</param>
    /// <param name="followPaths">Paths, null when not given.</param>
    public static string LocalKey(
        string name,
        string sessionId,
        IReadOnlyList<string>? includePatterns,
        IReadOnlyList<string>? excludePatterns,
        IReadOnlyList<string>? followPaths)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteName("SessionID");
        json.WriteString(sessionId);
        Patterns("IncludePatterns", includePatterns);
        Patterns("ExcludePatterns", excludePatterns);
        Patterns("FollowPaths", followPaths);
        json.WriteEndObject();
        return string.Create(CultureInfo.InvariantCulture, $"{SessionPrefix}{name}:{Digest.Sha256(json.WrittenSpan)}");

        void Patterns(string key, IReadOnlyList<string>? patterns)
        {
            json.WriteName(key);
            if (patterns is null)
            {
                json.WriteNull();
                return;
            }

            json.WriteStartArray();
            foreach (var pattern in patterns)
                json.WriteString(pattern);
            json.WriteEndArray();
        }
    }

    /// <summary>Splits a session attribute <c>prefix:id</c>: the id is the session, and the directory's name gets the
    /// prefix and a dash in front.</summary>
    public static (string Name, string SessionId) LocalSession(string name, string sessionAttribute)
    {
        var colon = sessionAttribute.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? (name, sessionAttribute) : ($"{sessionAttribute[..colon]}-{name}", sessionAttribute[(colon + 1)..]);
    }

    /// <summary>The layers a configuration lists; empty when it lists none, null when it is no configuration.</summary>
    private static List<Digest>? DiffIds(ReadOnlySpan<byte> config)
    {
        try
        {
            var reader = new Utf8JsonReader(config);
            using var document = JsonDocument.ParseValue(ref reader);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                return null;
            if (!document.RootElement.TryGetProperty("rootfs", out var rootfs) || rootfs.ValueKind != JsonValueKind.Object
                || !rootfs.TryGetProperty("type", out var type) || type.ValueKind != JsonValueKind.String || type.GetString() != "layers"
                || !rootfs.TryGetProperty("diff_ids", out var ids) || ids.ValueKind != JsonValueKind.Array)
                return [];
            return [.. ids.EnumerateArray().Select(id => Digest.Unchecked(id.ValueKind == JsonValueKind.String ? id.GetString()! : ""))];
        }
        catch (JsonException)
        {
            return null; // documented: such a configuration is identified by its bytes
        }
    }
}
