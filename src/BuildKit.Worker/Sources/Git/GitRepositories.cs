using BuildKit.Linux;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;

namespace BuildKit.Worker.Sources.Git;

/// <summary>
/// The bare repositories that fetched commits are kept in: one writable record per remote, found again by its
/// address (spec 06 §9.3). Whoever opens one holds the remote's lock.
/// </summary>
internal sealed class GitRepositories(IRefStore refs, GitRunner git)
{
    private const string RemoteKey = "git-remote";
    private const string RemoteIndex = "git-remote::";

    /// <summary>Opens the repository of a remote, made on first use.</summary>
    /// <param name="source">Names the remote.</param>
    /// <param name="access">What the client lends.</param>
    /// <param name="mounts">Holds the mount; disposed before the result.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async Task<GitRepository> OpenAsync(GitAttributes source, GitAccess access, MountedRefs mounts, CancellationToken cancellationToken)
    {
        var reference = await FindAsync(source.Url, cancellationToken);
        var isNew = reference is null;
        reference ??= await refs.NewAsync(null, new RefOptions { Description = "shared git repo for " + source.ShownUrl }, cancellationToken);
        try
        {
            var path = await mounts.PathOfAsync(reference, readOnly: false, cancellationToken);
            var repository = new GitRepository(git, source, access.Command with { GitDir = path }, reference);
            if (isNew)
            {
                await repository.InitializeAsync(cancellationToken);
                reference.Metadata.Set(RemoteKey, source.Url, RemoteIndex + source.Url);
                reference.Metadata.Retain = true;
            }
            else
            {
                RemoveStaleLocks(path);
            }
            return repository;
        }
        catch
        {
            await mounts.DisposeAsync();
            await reference.DisposeAsync();
            throw;
        }
    }

    private async Task<IMutableRef?> FindAsync(string remote, CancellationToken cancellationToken)
    {
        foreach (var id in await refs.SearchAsync(RemoteIndex + remote, cancellationToken))
        {
            if (refs.GetMetadata(id)?.Get(RemoteKey) != remote)
                continue;
            try
            {
                return await refs.GetMutableAsync(id, RefOptions.Default, cancellationToken);
            }
            catch (Exception exception) when (exception is RefLockedException or RefNotFoundException)
            {
                // Being removed, or removed between the search and now: the next one, or a fresh one.
            }
        }
        return null;
    }

    /// <summary>A git that was killed leaves its lock files; nobody else is in here.</summary>
    private static void RemoveStaleLocks(string path)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(path))
        {
            if (entry.Name.EndsWith(".lock", StringComparison.Ordinal))
                LinuxDirectory.RemoveTree(Path.Combine(path, entry.Name));
        }
        foreach (var file in Directory.EnumerateFiles(Path.Combine(path, "refs"), "*.lock", SearchOption.AllDirectories).ToList())
            File.Delete(file);
    }
}
