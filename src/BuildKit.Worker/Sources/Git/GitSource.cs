using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Sources.Git;

/// <summary>
/// Repositories, <c>git://</c> (spec 06 §9.3). The key is the commit, so a branch that has not moved is found in the
/// cache; the commits themselves are kept in one bare repository per remote, each fetched once.
/// </summary>
public sealed class GitSource(GitRunner git, IClientSessions sessions, IStepSessions steps, IRefStore refs, string temporaryDirectory) : ISource
{
    private const string RecordType = "source.git.checkout";
    private const string SnapshotKey = "git-snapshot";
    private const string SnapshotIndex = "git-snapshot::";

    private readonly KeyedLock _remotes = new();
    private readonly KeyedLock _snapshots = new();
    private readonly GitRepositories _repositories = new(refs, git);

    /// <inheritdoc/>
    public IReadOnlyList<string> Schemes => ["git"];

    /// <inheritdoc/>
    public ISourceInstance Open(SourceOp operation, BuildKit.Oci.Platform platform) => new Instance(this, GitAttributes.Parse(operation));

    private async Task<GitTarget> ResolveAsync(GitAttributes source, IOperationContext context, CancellationToken cancellationToken)
    {
        if (GitAttributes.IsCommit(source.Ref))
            return Checked(source, GitTarget.OfCommit(source.Ref));
        using var held = await _remotes.AcquireAsync(source.Url, cancellationToken);
        await using var access = await OpenAccessAsync(source, context, cancellationToken);
        try
        {
            var reference = source.Ref.Length > 0 ? source.Ref : await DefaultBranchAsync(source, access, cancellationToken);
            var lines = await git.RunAsync(access.Command, ["ls-remote", "--", source.Url, reference, reference + "^{}"], cancellationToken);
            return Checked(source, GitRefs.Choose(reference, lines));
        }
        catch (GitException exception)
        {
            throw new InvalidOperationException($"failed to fetch remote {source.ShownUrl}: {exception.Message}", exception);
        }
    }

    private async Task<string> DefaultBranchAsync(GitAttributes source, GitAccess access, CancellationToken cancellationToken) =>
        GitRefs.DefaultBranch(await git.RunAsync(access.Command, ["ls-remote", "--symref", "--", source.Url, "HEAD"], cancellationToken))
        ?? throw new InvalidOperationException($"could not find default branch for repository: {source.ShownUrl}");

    private static GitTarget Checked(GitAttributes source, GitTarget target)
    {
        if (target.Commit.StartsWith(source.Checksum, StringComparison.Ordinal) || target.Object.StartsWith(source.Checksum, StringComparison.Ordinal))
            return target;
        var found = target.IsAnnotatedTag ? $"{target.Object} or {target.Commit}" : target.Commit;
        throw new InvalidOperationException($"expected checksum to match {source.Checksum}, got {found}");
    }

    private Task<GitAccess> OpenAccessAsync(GitAttributes source, IOperationContext context, CancellationToken cancellationToken) =>
        GitAccess.OpenAsync(source, sessions, steps, temporaryDirectory, context, cancellationToken);

    private async Task<IImmutableRef> FetchAsync(GitAttributes source, GitTarget target, string key, IOperationContext context, CancellationToken cancellationToken)
    {
        var snapshotKey = $"{key}:{source.Subdirectory}";
        using var once = await _snapshots.AcquireAsync(snapshotKey, cancellationToken);
        if (await FindSnapshotAsync(snapshotKey, cancellationToken) is { } earlier)
            return earlier;
        using var held = await _remotes.AcquireAsync(source.Url, cancellationToken);
        await using var access = await OpenAccessAsync(source, context, cancellationToken);
        var mounts = new MountedRefs(temporaryDirectory);
        var repository = await _repositories.OpenAsync(source, access, mounts, cancellationToken);
        try
        {
            await repository.FetchAsync(target, wantsObject: source.KeepGitDir, cancellationToken);
            var snapshot = await CheckoutAsync(repository, source, target, cancellationToken);
            snapshot.Metadata.Set(SnapshotKey, snapshotKey, SnapshotIndex + snapshotKey);
            return snapshot;
        }
        finally
        {
            await mounts.DisposeAsync();
            await repository.DisposeAsync();
        }
    }

    private async Task<IImmutableRef?> FindSnapshotAsync(string key, CancellationToken cancellationToken)
    {
        foreach (var id in await refs.SearchAsync(SnapshotIndex + key, cancellationToken))
        {
            if (refs.GetMetadata(id)?.Get(SnapshotKey) != key)
                continue;
            try
            {
                return await refs.GetAsync(id, RefOptions.Default, cancellationToken);
            }
            catch (RefNotFoundException)
            {
                // Removed between the search and now.
            }
        }
        return null;
    }

    private async Task<IImmutableRef> CheckoutAsync(GitRepository repository, GitAttributes source, GitTarget target, CancellationToken cancellationToken)
    {
        var shownRef = source.Ref.Length > 0 ? source.Ref : target.FullName[(target.FullName.LastIndexOf('/') + 1)..];
        var mutable = await refs.NewAsync(
            null, new RefOptions { RecordType = RecordType, Description = $"git snapshot for {source.ShownUrl}#{shownRef}" }, cancellationToken);
        try
        {
            await using (var mounts = new MountedRefs(temporaryDirectory))
            {
                var directory = await mounts.PathOfAsync(mutable, readOnly: false, cancellationToken);
                await new GitCheckout(repository, source, target, directory).RunAsync(cancellationToken);
            }
            return await mutable.CommitAsync(cancellationToken);
        }
        catch
        {
            await mutable.DisposeAsync();
            throw;
        }
    }

    private sealed class Instance(GitSource git, GitAttributes source) : ISourceInstance
    {
        private GitTarget? _target;

        public SourceMaterial Material => new GitMaterial(
            source.Ref.Length > 0 ? $"{source.Url}#{source.Ref}" : source.Url,
            [.. new[] { source.AuthTokenSecret, source.AuthHeaderSecret }.Where(secret => secret.Length > 0)], source.SshAgentId);

        public async Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            var target = await TargetAsync(context, cancellationToken);
            return new SourceKey(KeyOf(target), IsLast: true) { Pin = target.Commit };
        }

        public async Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            var target = await TargetAsync(context, cancellationToken);
            return await git.FetchAsync(source, target, KeyOf(target), context, cancellationToken);
        }

        private async Task<GitTarget> TargetAsync(IOperationContext context, CancellationToken cancellationToken) =>
            _target ??= await git.ResolveAsync(source, context, cancellationToken);

        private string KeyOf(GitTarget target) =>
            SourceDigest.GitKey(target.Commit, source.KeepGitDir, target.FullName, source.Subdirectory);
    }
}
