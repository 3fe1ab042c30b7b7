using BuildKit.Linux;

namespace BuildKit.Worker.Sources.Git;

/// <summary>Makes the tree of a commit in an empty directory (spec 06 §9.3).</summary>
/// <param name="repository">Has the commit.</param>
/// <param name="source">What of it is wanted.</param>
/// <param name="target">The commit.</param>
/// <param name="directory">Where the tree goes.</param>
internal sealed class GitCheckout(GitRepository repository, GitAttributes source, GitTarget target, string directory)
{
    private const string GitName = ".git";

    /// <summary>Makes the tree.</summary>
    /// <exception cref="InvalidOperationException">The text names what failed, in the reference's words.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        if (source.KeepGitDir && source.Subdirectory.Length == 0)
        {
            await WithRepositoryAsync(cancellationToken);
            return;
        }
        if (source.Subdirectory.Length == 0)
        {
            await FilesAsync(directory, cancellationToken);
            return;
        }
        // All of it beside the place where its part belongs: a rename brings the part there.
        var all = Path.Combine(directory, "checkout" + Path.GetRandomFileName().Replace(".", "", StringComparison.Ordinal));
        LinuxFile.Mkdir(all, 0x1ED);
        await FilesAsync(all, cancellationToken);
        TakeSubdirectory(all);
        LinuxDirectory.RemoveTree(all);
    }

    private async Task WithRepositoryAsync(CancellationToken cancellationToken)
    {
        var git = Path.Combine(directory, GitName);
        LinuxFile.Mkdir(git, 0x1ED); // so that there is a directory to work in
        await RunAsync("init");
        var name = await repository.NameAsync(target.Object, cancellationToken);
        // Through git's own protocol: taking over another repository's files as they are has been abused.
        await RunAsync("fetch", "-u", "--depth=1", "--no-tags", "--", "file://" + repository.Path.Replace("%", "%25", StringComparison.Ordinal), name + LocalName());
        await repository.ForgetAsync(name, cancellationToken);
        try
        {
            await RunAsync("checkout", "--detach", "FETCH_HEAD");
        }
        catch (GitException exception)
        {
            throw Failed("checkout remote", exception);
        }
        await RunAsync("remote", "add", "--", "origin", source.ShownUrl);
        await RunAsync("reflog", "expire", "--all", "--expire=now");
        File.Delete(Path.Combine(git, "FETCH_HEAD"));
        try
        {
            await UpdateSubmodulesAsync(git, directory, cancellationToken);
        }
        catch (GitException exception)
        {
            throw Failed("update submodules for", exception);
        }

        Task<string> RunAsync(params string[] arguments) => repository.RunInAsync(git, directory, cancellationToken, arguments);
    }

    /// <summary>Under which name the commit is kept in the result's own repository: a branch as a branch, a tag as a tag.</summary>
    private string LocalName() => target.FullName.Length > 0 ? ":" + target.FullName : "";

    private async Task FilesAsync(string tree, CancellationToken cancellationToken)
    {
        var git = await repository.OpenCheckoutAsync(afresh: false, cancellationToken);
        var hadModules = Directory.Exists(ModulesOf(git));
        await WriteFilesAsync(git, tree, cancellationToken);
        try
        {
            await UpdateSubmodulesAsync(git, tree, cancellationToken);
        }
        catch (GitException) when (hadModules)
        {
            await StartOverAsync(tree, cancellationToken);
        }
        catch (GitException exception)
        {
            throw Failed("update submodules for", exception);
        }
        if (Directory.Exists(ModulesOf(git)))
            RemoveGitLinks(tree);
    }

    /// <summary>Once more without what earlier checkouts left: it knows submodules by addresses they may have had before.</summary>
    private async Task StartOverAsync(string tree, CancellationToken cancellationToken)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(tree))
            LinuxDirectory.RemoveTree(Path.Combine(tree, entry.Name));
        var git = await repository.OpenCheckoutAsync(afresh: true, cancellationToken);
        await WriteFilesAsync(git, tree, cancellationToken);
        try
        {
            await UpdateSubmodulesAsync(git, tree, cancellationToken);
        }
        catch (GitException exception)
        {
            throw Failed("update submodules for", exception);
        }
    }

    private async Task WriteFilesAsync(string git, string tree, CancellationToken cancellationToken)
    {
        try
        {
            await repository.RunInAsync(git, tree, cancellationToken, "read-tree", "--reset", "-u", target.Commit);
        }
        catch (GitException exception)
        {
            throw Failed("checkout remote", exception);
        }
    }

    private Task UpdateSubmodulesAsync(string git, string tree, CancellationToken cancellationToken) =>
        repository.RunInAsync(git, tree, cancellationToken, "submodule", "update", "--init", "--recursive", "--depth=1");

    private InvalidOperationException Failed(string what, GitException exception) =>
        new($"failed to {what} {source.ShownUrl}: {exception.Message}", exception);

    private static string ModulesOf(string git) => Path.Combine(git, "modules");

    /// <summary>Submodules point to repositories that stay behind: without these files no two checkouts differ.</summary>
    private static void RemoveGitLinks(string tree)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(tree))
        {
            var path = Path.Combine(tree, entry.Name);
            if (entry.Name == GitName)
                LinuxDirectory.RemoveTree(path);
            else if (LinuxFile.Lstat(path).IsDirectory)
                RemoveGitLinks(path);
        }
    }

    private void TakeSubdirectory(string all)
    {
        // A repository may contain any links; none of them leads out of it.
        var from = RootedPath.Resolve(all, source.Subdirectory, followLast: true);
        if (!LinuxFile.TryLstat(from, out var stat))
            throw new InvalidOperationException($"failed to open subdir {source.Subdirectory}: no such file or directory in {source.ShownUrl}");
        if (!stat.IsDirectory)
            throw new InvalidOperationException($"failed to open subdir {source.Subdirectory}: not a directory in {source.ShownUrl}");
        foreach (var entry in LinuxDirectory.ReadSorted(from))
            LinuxFile.Rename(Path.Combine(from, entry.Name), Path.Combine(directory, entry.Name), noReplace: true);
    }
}
