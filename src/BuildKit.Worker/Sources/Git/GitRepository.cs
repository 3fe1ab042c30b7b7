using BuildKit.Linux;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Sources.Git;

/// <summary>An open bare repository of a remote. Disposing gives the record back; its mount must be gone by then.</summary>
internal sealed class GitRepository(GitRunner git, GitAttributes source, GitCommand command, IMutableRef reference) : IAsyncDisposable
{
    private const string Namespace = "refs/buildkit/";
    private const string CheckoutName = "checkout.git";

    /// <summary>Directory of the repository.</summary>
    public string Path => command.GitDir;

    /// <summary>Runs git in the repository.</summary>
    public Task<string> RunAsync(CancellationToken cancellationToken, params string[] arguments) => git.RunAsync(command, arguments, cancellationToken);

    /// <summary>Runs git on another repository and checkout, with what the client lends.</summary>
    public Task<string> RunInAsync(string gitDir, string workTree, CancellationToken cancellationToken, params string[] arguments) =>
        git.RunAsync(command with { GitDir = gitDir, WorkTree = workTree }, arguments, cancellationToken);

    /// <summary>Makes an empty repository.</summary>
    public async Task InitializeAsync(CancellationToken cancellationToken)
    {
        try
        {
            await RunAsync(cancellationToken, "init", "--bare");
        }
        catch (GitException exception)
        {
            throw new InvalidOperationException($"failed to init repo at {Path}: {exception.Message}", exception);
        }
        await RunAsync(cancellationToken, "remote", "add", "--", "origin", source.Url);
    }

    /// <summary>Makes sure a commit (and the tag it was found by) is here.</summary>
    /// <param name="target">What is wanted.</param>
    /// <param name="wantsObject">Whether the tag object is wanted too.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    /// <exception cref="InvalidOperationException">The remote does not give it.</exception>
    public async Task FetchAsync(GitTarget target, bool wantsObject, CancellationToken cancellationToken)
    {
        var wanted = wantsObject ? target.Object : target.Commit;
        if (await HasAsync(wanted, cancellationToken))
            return;
        try
        {
            if (target.FullName.Length > 0)
            {
                // Under a name of ours, made of no remote names that could be in each other's way.
                var name = Namespace + Oci.Digest.Sha256(target.FullName).Hex;
                await RunAsync(cancellationToken, "fetch", "--depth=1", "--no-tags", "--force", "--", "origin", $"{target.FullName}:{name}");
                if (await HasAsync(wanted, cancellationToken))
                    return;
                // It has moved on since it was looked up.
            }
            await FetchByIdAsync(wanted, cancellationToken);
        }
        catch (GitException exception)
        {
            throw new InvalidOperationException($"failed to fetch remote {source.ShownUrl}: {exception.Message}", exception);
        }
    }

    /// <summary>Gives an object a name for the time of a fetch out of this repository.</summary>
    public async Task<string> NameAsync(string objectId, CancellationToken cancellationToken)
    {
        var name = Namespace + "checkout-" + System.IO.Path.GetRandomFileName().Replace(".", "", StringComparison.Ordinal);
        await RunAsync(cancellationToken, "update-ref", name, objectId);
        return name;
    }

    /// <summary>Takes the name away.</summary>
    public Task ForgetAsync(string name, CancellationToken cancellationToken) => RunAsync(cancellationToken, "update-ref", "-d", name);

    /// <summary>
    /// A repository beside this one that sees its objects: index, settings and submodules of checkouts are kept there.
    /// </summary>
    /// <param name="afresh">Throw away what earlier checkouts left: addresses of submodules may have changed.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async Task<string> OpenCheckoutAsync(bool afresh, CancellationToken cancellationToken)
    {
        var path = System.IO.Path.Combine(Path, CheckoutName);
        var alternates = System.IO.Path.Combine(path, "objects", "info", "alternates");
        if (afresh || !File.Exists(alternates))
            LinuxDirectory.RemoveTree(path);
        if (!Directory.Exists(path))
        {
            LinuxFile.Mkdir(path, 0x1ED);
            var beside = command with { GitDir = path };
            await git.RunAsync(beside, ["init", "--bare"], cancellationToken);
            await git.RunAsync(beside, ["remote", "add", "--", "origin", source.Url], cancellationToken);
            // Last: its presence says that all of the above is done.
            await File.WriteAllTextAsync(alternates, "../../objects\n", cancellationToken);
        }
        foreach (var leftover in new[] { "index", "index.lock", "config.lock" })
            File.Delete(System.IO.Path.Combine(path, leftover));
        return path;
    }

    public ValueTask DisposeAsync() => reference.DisposeAsync();

    private async Task FetchByIdAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await RunAsync(cancellationToken, "fetch", "--depth=1", "--no-tags", "--", "origin", id);
        }
        catch (GitException exception) when (IsRefusal(exception))
        {
            // The server gives only what has a name: all of that, with its history.
            string[] depth = File.Exists(System.IO.Path.Combine(Path, "shallow")) ? ["--unshallow"] : [];
            await RunAsync(
                cancellationToken,
                ["fetch", "--no-tags", "--force", .. depth, "--", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]);
            if (!await HasAsync(id, cancellationToken))
                throw;
        }
    }

    /// <summary>Whether a server said that it does not give out that commit by its id.</summary>
    private static bool IsRefusal(GitException exception) =>
        exception.Stderr.Contains("not our ref", StringComparison.Ordinal) || exception.Stderr.Contains("unadvertised object", StringComparison.Ordinal)
        || exception.Stderr.Contains("couldn't find remote ref", StringComparison.Ordinal) || exception.Stderr.Contains("no such remote ref", StringComparison.OrdinalIgnoreCase);

    private async Task<bool> HasAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            await git.RunAsync(command with { Progress = null }, ["cat-file", "-e", id + "^{commit}"], cancellationToken);
            return true;
        }
        catch (GitException)
        {
            return false;
        }
    }
}
