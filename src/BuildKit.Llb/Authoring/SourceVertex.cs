using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>An operation that brings files in (spec 02 §4).</summary>
internal sealed class SourceVertex(string identifier, SortedDictionary<string, string> attributes, OpConstraints constraints, LlbException? error = null) : Vertex
{
    private const string LocalScheme = "local://";

    public override IEnumerable<Output> Inputs => [];

    public VertexOutput Output => new(this, constraints.Platform);

    public override MarshalledOp Marshal(MarshalContext context)
    {
        if (error is not null)
            throw new LlbException(error.Message, error);
        if (identifier.Length == 0)
            throw new LlbException("source identifier can't be empty");
        var own = constraints;
        var source = new SourceOp { Identifier = identifier };
        foreach (var (key, value) in attributes)
            source.Attrs.Add(key, value);
        if (identifier.StartsWith(LocalScheme, StringComparison.Ordinal) && !attributes.ContainsKey(SourceAttributes.LocalSession))
        {
            source.Attrs[SourceAttributes.LocalUnique] = own.LocalUniqueId ?? context.Base.LocalUniqueId ?? "";
            own = own.Require(LlbCaps.SourceLocalUnique);
        }

        var all = own.Over(context.Base);
        var op = MarshalContext.NewOp(all, SourceAttributes.HasPlatform(identifier));
        op.Source = source;
        return MarshalContext.Finish(op, all with { Locations = constraints.Locations });
    }
}

/// <summary>Attribute keys of source operations, as the protocol spells them (spec 02 §4).</summary>
public static class SourceAttributes
{
#pragma warning disable CS1591 // the names say it; meanings are in spec 02 §4
    public const string ImageResolveMode = "image.resolvemode";
    public const string ImageRecordType = "image.recordtype";
    public const string ImageLayerLimit = "image.layerlimit";
    public const string OciSession = "oci.session";
    public const string OciStore = "oci.store";
    public const string OciLayerLimit = "oci.layerlimit";
    public const string LocalSession = "local.session";
    public const string LocalUnique = "local.unique";
    public const string LocalIncludePatterns = "local.includepattern";
    public const string LocalExcludePatterns = "local.excludepatterns";
    public const string LocalFollowPaths = "local.followpaths";
    public const string LocalSharedKeyHint = "local.sharedkeyhint";
    public const string LocalDiffer = "local.differ";
    public const string GitFullUrl = "git.fullurl";
    public const string GitChecksum = "git.checksum";
    public const string GitKeepGitDir = "git.keepgitdir";
    public const string GitAuthTokenSecret = "git.authtokensecret";
    public const string GitAuthHeaderSecret = "git.authheadersecret";
    public const string GitKnownSshHosts = "git.knownsshhosts";
    public const string GitMountSshSock = "git.mountsshsock";
    public const string HttpChecksum = "http.checksum";
    public const string HttpFilename = "http.filename";
    public const string HttpPerm = "http.perm";
    public const string HttpUid = "http.uid";
    public const string HttpGid = "http.gid";
#pragma warning restore CS1591

    /// <summary>Whether a source's content depends on the platform, so that its operation carries one.</summary>
    public static bool HasPlatform(string identifier) =>
        identifier.StartsWith("docker-image://", StringComparison.Ordinal) || identifier.StartsWith("oci-layout://", StringComparison.Ordinal);
}
