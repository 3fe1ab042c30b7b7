namespace BuildKit.Llb;

/// <summary>Capabilities of the build graph: what operations may ask for (spec 02 §9).</summary>
public static class LlbCaps
{
#pragma warning disable CS1591 // the ids say it; when each is required is in spec 02 §9
    public const string CacheAzureBlob = "cache.azblob";
    public const string CacheGitHubActions = "cache.gha";
    public const string CacheS3 = "cache.s3";
    public const string Constraints = "constraints";
    public const string DiffOp = "diffop";
    public const string ExecCgroup = "exec.cgroup";
    public const string ExecMetaBase = "exec.meta.base";
    public const string ExecMetaCdi = "exec.meta.cdi";
    public const string ExecMetaCgroupParent = "exec.meta.cgroup.parent";
    public const string ExecMetaNetwork = "exec.meta.network";
    public const string ExecMetaProxy = "exec.meta.proxyenv";
    public const string ExecMetaSecurity = "exec.meta.security";
    public const string ExecMetaSecurityDevices = "exec.meta.security.devices.v1";
    public const string ExecMetaSetsDefaultPath = "exec.meta.setsdefaultpath";
    public const string ExecMetaUlimit = "exec.meta.ulimit";
    public const string ExecMountBind = "exec.mount.bind";
    public const string ExecMountBindReadWriteNoOutput = "exec.mount.bind.readwrite-nooutput";
    public const string ExecMountCache = "exec.mount.cache";
    public const string ExecMountContentCache = "exec.mount.cache.content";
    public const string ExecMountCacheSharing = "exec.mount.cache.sharing";
    public const string ExecMountSecret = "exec.mount.secret";
    public const string ExecMountSelector = "exec.mount.selector";
    public const string ExecMountSsh = "exec.mount.ssh";
    public const string ExecMountTmpfs = "exec.mount.tmpfs";
    public const string ExecMountTmpfsSize = "exec.mount.tmpfs.size";
    public const string ExecSecretEnv = "exec.secretenv";
    public const string ExecValidExitCode = "exec.validexitcode";
    public const string ExporterImageAnnotations = "exporter.image.annotations";
    public const string ExporterImageAttestations = "exporter.image.attestations";
    public const string ExporterMultiple = "exporter.multiple";
    public const string ExporterSourceDateEpoch = "exporter.sourcedateepoch";
    public const string FileBase = "file.base";
    public const string FileCopyAlwaysReplaceExistingDestPaths = "file.copy.alwaysreplaceexistingdestpaths";
    public const string FileCopyIncludeExcludePatterns = "file.copy.includeexcludepatterns";
    public const string FileRmNoFollowSymlink = "file.rm.nofollowsymlink";
    public const string FileRmWildcard = "file.rm.wildcard";
    public const string FileSymlinkCreate = "file.symlink.create";
    public const string GcFreeSpaceFilter = "gc.freespacefilter";
    public const string HistoryFilter = "history.filter";
    public const string MergeOp = "mergeop";
    public const string MetaDescription = "meta.description";
    public const string MetaExportCache = "meta.exportcache";
    public const string MetaIgnoreCache = "meta.ignorecache";
    public const string Platform = "platform";
    public const string SourceHttpUidGid = "soruce.http.uidgid"; // misspelt in the protocol
    public const string SourceBuildOpLlbFilename = "source.buildop.llbfilename";
    public const string SourceGit = "source.git";
    public const string SourceGitChecksum = "source.git.checksum"; // younger than the version we follow otherwise
    public const string SourceGitFullUrl = "source.git.fullurl";
    public const string SourceGitHttpAuth = "source.git.httpauth";
    public const string SourceGitKeepDir = "source.git.keepgitdir";
    public const string SourceGitKnownSshHosts = "source.git.knownsshhosts";
    public const string SourceGitMountSshSock = "source.git.mountsshsock";
    public const string SourceGitSubdir = "source.git.subdir";
    public const string SourceHttp = "source.http";
    public const string SourceHttpChecksum = "source.http.checksum";
    public const string SourceHttpPerm = "source.http.perm";
    public const string SourceImage = "source.image";
    public const string SourceImageLayerLimit = "source.image.layerlimit";
    public const string SourceImageResolveMode = "source.image.resolvemode";
    public const string SourceLocal = "source.local";
    public const string SourceLocalDiffer = "source.local.differ";
    public const string SourceLocalExcludePatterns = "source.local.excludepatterns";
    public const string SourceLocalFollowPaths = "source.local.followpaths";
    public const string SourceLocalIncludePatterns = "source.local.includepatterns";
    public const string SourceLocalSessionId = "source.local.sessionid";
    public const string SourceLocalSharedKeyHint = "source.local.sharedkeyhint";
    public const string SourceLocalUnique = "source.local.unique";
    public const string SourceOciLayout = "source.ocilayout";
    public const string SourcePolicy = "source.policy";
#pragma warning restore CS1591

    /// <summary>Every capability we know, sorted by id: what a daemon publishes and what a client may ask for.</summary>
    public static CapabilityList All { get; } = new(
    [
        new(CacheAzureBlob), new(CacheGitHubActions), new(CacheS3), new(Constraints), new(DiffOp), new(ExecCgroup),
        new(ExecMetaBase), new(ExecMetaCdi), new(ExecMetaCgroupParent), new(ExecMetaNetwork), new(ExecMetaProxy),
        new(ExecMetaSecurity), new(ExecMetaSecurityDevices), new(ExecMetaSetsDefaultPath), new(ExecMetaUlimit),
        new(ExecMountBind), new(ExecMountBindReadWriteNoOutput), new(ExecMountCache), new(ExecMountContentCache),
        new(ExecMountCacheSharing), new(ExecMountSecret), new(ExecMountSelector), new(ExecMountSsh), new(ExecMountTmpfs),
        new(ExecMountTmpfsSize), new(ExecSecretEnv), new(ExecValidExitCode), new(ExporterImageAnnotations),
        new(ExporterImageAttestations), new(ExporterMultiple), new(ExporterSourceDateEpoch),
        new(FileBase)
        {
            Status = CapabilityStatus.Prerelease,
            AddedIn = new Dictionary<string, string>(StringComparer.Ordinal) { ["docker"] = "Docker v19.03", ["buildkit"] = "BuildKit v0.5.0" },
        },
        new(FileCopyAlwaysReplaceExistingDestPaths), new(FileCopyIncludeExcludePatterns), new(FileRmNoFollowSymlink),
        new(FileRmWildcard), new(FileSymlinkCreate), new(GcFreeSpaceFilter), new(HistoryFilter), new(MergeOp),
        new(MetaDescription), new(MetaExportCache), new(MetaIgnoreCache), new(Platform), new(SourceHttpUidGid),
        new(SourceBuildOpLlbFilename), new(SourceGit), new(SourceGitChecksum), new(SourceGitFullUrl), new(SourceGitHttpAuth),
        new(SourceGitKeepDir), new(SourceGitKnownSshHosts), new(SourceGitMountSshSock), new(SourceGitSubdir),
        new(SourceHttp), new(SourceHttpChecksum), new(SourceHttpPerm), new(SourceImage), new(SourceImageLayerLimit),
        new(SourceImageResolveMode), new(SourceLocal), new(SourceLocalDiffer), new(SourceLocalExcludePatterns),
        new(SourceLocalFollowPaths), new(SourceLocalIncludePatterns), new(SourceLocalSessionId),
        new(SourceLocalSharedKeyHint), new(SourceLocalUnique), new(SourceOciLayout), new(SourcePolicy),
    ]);

    /// <summary>What a daemon that publishes no list is taken to know.</summary>
    public static IReadOnlyList<string> Oldest { get; } =
    [
        SourceImage, SourceLocal, SourceLocalUnique, SourceLocalSessionId, SourceLocalIncludePatterns,
        SourceLocalFollowPaths, SourceLocalExcludePatterns, SourceLocalSharedKeyHint, SourceGit, SourceGitKeepDir,
        SourceGitFullUrl, SourceHttp, SourceHttpChecksum, SourceHttpPerm, SourceHttpUidGid, SourceBuildOpLlbFilename,
        ExecMetaBase, ExecMetaProxy, ExecMountBind, ExecMountCache, ExecMountCacheSharing, ExecMountSelector,
        ExecMountTmpfs, ExecMountSecret, Constraints, Platform, MetaIgnoreCache, MetaDescription, MetaExportCache,
    ];
}
