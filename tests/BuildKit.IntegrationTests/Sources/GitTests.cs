using System.Text;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using Microsoft.AspNetCore.Http;

namespace BuildKit.IntegrationTests.Sources;

/// <summary><c>ADD</c> of repositories, served by git itself.</summary>
public sealed class GitTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    /// <summary>Builds <c>ADD SOURCE /</c>; where its files are.</summary>
    private async Task<string> AddAsync(TempDirectory output, string source, string flags = "", params string[] arguments)
    {
        using var context = new ContextDirectory($"FROM scratch\nADD {flags} {source} /r/\n");
        (await Client.BuildAsync(context, ["--output", $"type=local,dest={output.Path}/o", .. arguments])).Succeeded();
        return output.Path + "/o/r";
    }

    private async Task<string> FailAsync(string source, string flags = "", params string[] arguments)
    {
        using var context = new ContextDirectory($"FROM scratch\nADD {flags} {source} /r/\n");
        return (await Client.BuildPlainAsync(context, arguments)).Failed().Errors;
    }

    private static IEnumerable<string> Names(string directory) => Directory.EnumerateFileSystemEntries(directory).Select(Path.GetFileName).Order(StringComparer.Ordinal)!;

    [EndToEndFact("git")]
    public async Task The_files_of_a_branch_are_added_without_git()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"), ("sub/b.sh", "#!/bin/sh\n"), ("sub/deep/c", "c"));
        File.SetUnixFileMode(work.Path + "/sub/b.sh", (UnixFileMode)0x1ED);
        await work.CommitAllAsync();
        await work.GitAsync("checkout", "-q", "-b", "other");
        await work.CommitAsync(("a.txt", "two"));
        using var output = new TempDirectory();
        var files = await AddAsync(output, host.Url + "/repo.git");
        Assert.Equal(["a.txt", "sub"], Names(files));
        Assert.Equal("one", await File.ReadAllTextAsync(files + "/a.txt"));
        Assert.Equal(0x1A4u, LinuxFile.Lstat(files + "/a.txt").Permissions);
        Assert.Equal(0x1EDu, LinuxFile.Lstat(files + "/sub/b.sh").Permissions);
        Assert.Equal(0x1EDu, LinuxFile.Lstat(files + "/sub").Permissions);
        using var second = new TempDirectory();
        Assert.Equal("two", await File.ReadAllTextAsync(await AddAsync(second, host.Url + "/repo.git#other") + "/a.txt"));
        using var third = new TempDirectory();
        Assert.Equal(["b.sh", "deep"], Names(await AddAsync(third, host.Url + "/repo.git#main:sub")));
        using var fourth = new TempDirectory();
        Assert.Equal(["c"], Names(await AddAsync(fourth, host.Url + "/repo.git#other:sub/deep")));
    }

    [EndToEndFact("git")]
    public async Task An_unchanged_branch_executes_nothing_and_a_moved_one_does()
    {
        await using var host = await GitHost.StartAsync();
        // Files that no other test has: a copy of the same files is found by them.
        var (one, two) = (Guid.NewGuid().ToString("N"), Guid.NewGuid().ToString("N"));
        var work = await host.CreateAsync("repo", ("a.txt", one));
        using var context = new ContextDirectory($"FROM scratch\nADD {host.Url}/repo.git#main /r/\n");
        using var output = new TempDirectory();
        (await Client.BuildAsync(context)).Succeeded().AssertAdded();
        var fetches = host.Fetches;
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
        Assert.Equal(fetches, host.Fetches);
        await work.CommitAsync(("a.txt", two));
        (await Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded().AssertAdded();
        Assert.Equal(two, await File.ReadAllTextAsync(output.Path + "/o/r/a.txt"));
        // Back to where it was, by force: that commit is known.
        await work.GitAsync("reset", "-q", "--hard", "HEAD^");
        await work.GitAsync("push", "-q", "-f", "origin", "HEAD:main");
        (await Client.BuildAsync(context)).Succeeded().AssertReused();
    }

    [EndToEndFact("git")]
    public async Task Tags_and_commits_are_found()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        await work.GitAsync("tag", "light");
        await work.GitAsync("tag", "-a", "-m", "words", "full");
        var first = await work.GitAsync("rev-parse", "HEAD");
        await work.CommitAsync(("a.txt", "two"));
        await work.CommitAsync(("a.txt", "three"));
        await work.GitAsync("push", "-q", "origin", "light", "full");
        foreach (var reference in new[] { "light", "full", "refs/tags/full", first })
        {
            using var output = new TempDirectory();
            Assert.Equal("one", await File.ReadAllTextAsync(await AddAsync(output, $"{host.Url}/repo.git#{reference}") + "/a.txt"));
        }
        // A tag that was moved is another commit.
        await work.GitAsync("tag", "-f", "-a", "-m", "moved", "full");
        await work.GitAsync("push", "-q", "-f", "origin", "full");
        using var moved = new TempDirectory();
        Assert.Equal("three", await File.ReadAllTextAsync(await AddAsync(moved, host.Url + "/repo.git#full") + "/a.txt"));
    }

    [EndToEndFact("git")]
    public async Task A_commit_is_fetched_from_a_server_that_gives_only_what_has_a_name()
    {
        await using var host = await GitHost.StartAsync();
        host.SpeaksOldProtocol = true;
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        var first = await work.GitAsync("rev-parse", "HEAD");
        await work.CommitAsync(("a.txt", "two"));
        using var latest = new TempDirectory();
        Assert.Equal("two", await File.ReadAllTextAsync(await AddAsync(latest, host.Url + "/repo.git") + "/a.txt"));
        using var output = new TempDirectory();
        Assert.Equal("one", await File.ReadAllTextAsync(await AddAsync(output, $"{host.Url}/repo.git#{first}") + "/a.txt"));
    }

    [EndToEndFact("git")]
    public async Task A_git_daemon_serves_sources()
    {
        await using var host = await GitHost.StartAsync();
        var url = await host.StartDaemonAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        var first = await work.GitAsync("rev-parse", "HEAD");
        await work.CommitAsync(("a.txt", "two"));
        using var latest = new TempDirectory();
        Assert.Equal("two", await File.ReadAllTextAsync(await AddAsync(latest, url + "/repo.git") + "/a.txt"));
        using var output = new TempDirectory();
        Assert.Equal("one", await File.ReadAllTextAsync(await AddAsync(output, $"{url}/repo.git#{first}") + "/a.txt"));
    }

    [EndToEndFact("git")]
    public async Task A_repository_on_a_plain_web_server_is_fetched_in_full()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        var first = await work.GitAsync("rev-parse", "HEAD");
        await work.CommitAsync(("a.txt", "two"));
        await GitHost.GitAsync(work.Bare, "update-server-info");
        await using var plain = await WebServer.StartAsync(async context =>
        {
            var file = work.Bare + context.Request.Path.Value!["/repo.git".Length..];
            if (!File.Exists(file))
            {
                context.Response.StatusCode = 404;
                return;
            }
            await context.Response.SendFileAsync(file);
        });
        using var output = new TempDirectory();
        Assert.Equal("two", await File.ReadAllTextAsync(await AddAsync(output, plain.Url + "/repo.git#main") + "/a.txt"));
        using var older = new TempDirectory();
        Assert.Equal("one", await File.ReadAllTextAsync(await AddAsync(older, $"{plain.Url}/repo.git#{first}") + "/a.txt"));
    }

    [EndToEndFact("git")]
    public async Task A_kept_repository_is_one_git_can_work_with()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"), ("sub/b", "b"));
        await work.CommitAsync(("a.txt", "two"));
        await work.GitAsync("tag", "-a", "-m", "words", "v1");
        await work.GitAsync("push", "-q", "origin", "v1");
        var commit = await work.GitAsync("rev-parse", "HEAD");
        foreach (var (reference, named) in new[] { ("main", "refs/heads/main"), ("v1", "refs/tags/v1"), (commit, "") })
        {
            using var output = new TempDirectory();
            var url = host.Url.Replace("://", "://me:geheim@", StringComparison.Ordinal);
            var files = await AddAsync(output, $"{url}/repo.git#{reference}", "--keep-git-dir=true");
            Assert.Equal([".git", "a.txt", "sub"], Names(files));
            Assert.Equal("", await GitHost.GitAsync(files, "status", "--porcelain"));
            Assert.Equal(commit, await GitHost.GitAsync(files, "rev-parse", "HEAD"));
            if (named.Length > 0)
                Assert.Equal(commit, await GitHost.GitAsync(files, "rev-parse", named + "^{commit}"));
            if (reference == "v1")
                Assert.Equal("v1", await GitHost.GitAsync(files, "describe"));
            Assert.Equal(url.Replace("me:geheim", "xxxxx:xxxxx", StringComparison.Ordinal) + "/repo.git", await GitHost.GitAsync(files, "config", "remote.origin.url"));
            Assert.False(File.Exists(files + "/.git/FETCH_HEAD"));
            Assert.Equal(1, (await Programs.RunAsync("grep", ["-r", "geheim", files])).ExitCode);
            Assert.Equal(1, (await Programs.RunAsync("grep", ["-r", fixture.Daemon.Root, files])).ExitCode);
        }
        // A part of a repository is files and nothing more.
        using var part = new TempDirectory();
        Assert.Equal(["b"], Names(await AddAsync(part, host.Url + "/repo.git#main:sub", "--keep-git-dir=true")));
    }

    [EndToEndFact("git")]
    public async Task What_is_not_there_is_told()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        Assert.Contains("failed to load cache key: repository does not contain ref nope, output: \"\"", await FailAsync(host.Url + "/repo.git#nope"), StringComparison.Ordinal);
        var missing = await FailAsync(host.Url + "/missing.git#main");
        Assert.Contains($"failed to fetch remote {host.Url}/missing.git: git stderr:", missing, StringComparison.Ordinal);
        Assert.Contains(": exit status 128", missing, StringComparison.Ordinal);
        Assert.Contains("failed to open subdir none: no such file or directory", await FailAsync(host.Url + "/repo.git#main:none"), StringComparison.Ordinal);
        var unknown = new string('a', 40);
        Assert.Contains($"failed to fetch remote {host.Url}/repo.git: ", await FailAsync($"{host.Url}/repo.git#{unknown}"), StringComparison.Ordinal);
        await host.CreateAsync("empty");
        Assert.Contains("could not find default branch for repository: ", await FailAsync(host.Url + "/empty.git"), StringComparison.Ordinal);
        Assert.NotEmpty(work.Bare);
    }

    [EndToEndFact("git")]
    public async Task A_checksum_pins_the_commit_of_a_reference()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        var commit = await work.GitAsync("rev-parse", "HEAD");
        using var output = new TempDirectory();
        await AddAsync(output, host.Url + "/repo.git#main", "--checksum=" + commit[..12]);
        var moved = await work.CommitAsync(("a.txt", "two"));
        Assert.Contains($"expected checksum to match {commit}, got {moved}", await FailAsync(host.Url + "/repo.git#main", "--checksum=" + commit), StringComparison.Ordinal);
        Assert.Contains("invalid checksum sha256:12, expected hex commit hash", await FailAsync(host.Url + "/repo.git#main", "--checksum=sha256:12"), StringComparison.Ordinal);
    }

    [EndToEndFact("git")]
    public async Task A_token_of_the_client_opens_a_private_repository_and_is_shown_nowhere()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("repo", ("a.txt", "one"));
        host.Authorization = "basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes("x-access-token:tok-en"));
        var refused = await FailAsync(host.Url + "/repo.git#main");
        Assert.Contains("could not read Username", refused, StringComparison.Ordinal);
        Assert.Contains("terminal prompts disabled", refused, StringComparison.Ordinal);
        using var secrets = new ContextDirectory().Write("token", "tok-en").Write("other", "wrong");
        using var output = new TempDirectory();
        await AddAsync(output, host.Url + "/repo.git#main", "", "--secret", "id=GIT_AUTH_TOKEN,src=" + secrets["token"]);
        // One for this host comes before one for all.
        using var named = new TempDirectory();
        var hostName = host.Url["http://".Length..];
        await AddAsync(named, host.Url + "/repo.git#main:", "", "--secret", "id=GIT_AUTH_TOKEN,src=" + secrets["other"], "--secret", $"id=GIT_AUTH_TOKEN.{hostName},src={secrets["token"]}");
        host.Authorization = "Bearer raw";
        using var header = new ContextDirectory().Write("header", "Bearer raw");
        using var raw = new TempDirectory();
        await AddAsync(raw, host.Url + "/repo.git#main", "--keep-git-dir=true", "--secret", "id=GIT_AUTH_HEADER,src=" + header["header"]);
        Assert.Equal(1, (await Programs.RunAsync("grep", ["-r", "Bearer raw", raw.Path])).ExitCode);
        Assert.DoesNotContain("tok-en", fixture.Daemon.Log, StringComparison.Ordinal);
    }

    [EndToEndFact("git")]
    public async Task Submodules_come_along_without_traces_of_where_they_are_kept()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("inner", ("i.txt", "inner"));
        var middle = await host.CreateAsync("middle", ("m.txt", "middle"));
        await middle.GitAsync("submodule", "--quiet", "add", host.Url + "/inner.git", "in");
        await middle.CommitAllAsync();
        var outer = await host.CreateAsync("outer", ("o.txt", "outer"));
        await outer.GitAsync("submodule", "--quiet", "add", "../middle.git", "libs/mid");
        await outer.CommitAllAsync();
        using var output = new TempDirectory();
        var files = await AddAsync(output, host.Url + "/outer.git");
        Assert.Equal("inner", await File.ReadAllTextAsync(files + "/libs/mid/in/i.txt"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(files, ".git", SearchOption.AllDirectories));
        using var part = new TempDirectory();
        Assert.Equal([".gitmodules", "in", "m.txt"], Names(await AddAsync(part, host.Url + "/outer.git#main:libs/mid")));
        using var kept = new TempDirectory();
        var repository = await AddAsync(kept, host.Url + "/outer.git", "--keep-git-dir=true");
        Assert.Equal("", await GitHost.GitAsync(repository, "status", "--porcelain"));
        Assert.Equal("inner", await File.ReadAllTextAsync(repository + "/libs/mid/in/i.txt"));
        // The submodule moves to another address, and its old one is gone.
        Directory.Move(middle.Bare, middle.Bare.Replace("middle", "moved", StringComparison.Ordinal));
        await outer.GitAsync("config", "-f", ".gitmodules", "submodule.libs/mid.url", "../moved.git");
        await File.WriteAllTextAsync(middle.Path + "/m.txt", "new");
        await middle.GitAsync("remote", "set-url", "origin", middle.Bare.Replace("middle", "moved", StringComparison.Ordinal));
        var commit = await middle.CommitAllAsync();
        await GitHost.GitAsync(outer.Path + "/libs/mid", "fetch", "-q", middle.Bare.Replace("middle", "moved", StringComparison.Ordinal), "main");
        await GitHost.GitAsync(outer.Path + "/libs/mid", "checkout", "-q", commit);
        await outer.CommitAllAsync();
        using var after = new TempDirectory();
        Assert.Equal("new", await File.ReadAllTextAsync(await AddAsync(after, host.Url + "/outer.git") + "/libs/mid/m.txt"));
        // And a later commit has none.
        await outer.GitAsync("rm", "-q", "libs/mid");
        await outer.CommitAllAsync();
        using var without = new TempDirectory();
        Assert.Equal([".gitmodules", "o.txt"], Names(await AddAsync(without, host.Url + "/outer.git")));
    }

    [EndToEndFact("git")]
    public async Task A_hostile_repository_reaches_nothing_of_the_machine()
    {
        await using var host = await GitHost.StartAsync();
        var victim = await host.CreateAsync("victim", ("secret.txt", "of the machine"));
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        // Submodules out of the file system.
        await work.GitAsync("submodule", "--quiet", "add", "file://" + victim.Bare, "stolen");
        await work.CommitAllAsync();
        Assert.Contains("transport 'file' not allowed", await FailAsync(host.Url + "/repo.git"), StringComparison.Ordinal);
        await work.GitAsync("config", "-f", ".gitmodules", "submodule.stolen.url", victim.Bare);
        await work.CommitAllAsync();
        Assert.Contains("failed to update submodules for", await FailAsync(host.Url + "/repo.git"), StringComparison.Ordinal);
        await work.GitAsync("rm", "-q", "-f", "stolen");
        // A subdirectory that is a way out.
        var outside = Path.Combine(fixture.Daemon.Scratch, "outside-" + Guid.NewGuid().ToString("N"));
        Directory.CreateDirectory(outside);
        await File.WriteAllTextAsync(outside + "/precious", "x");
        File.CreateSymbolicLink(work.Path + "/way", outside);
        File.CreateSymbolicLink(work.Path + "/up", "../../../../../../../../../.." + outside);
        await work.CommitAllAsync();
        Assert.Contains("failed to open subdir way: ", await FailAsync(host.Url + "/repo.git#main:way"), StringComparison.Ordinal);
        Assert.Contains("failed to open subdir up: ", await FailAsync(host.Url + "/repo.git#main:up"), StringComparison.Ordinal);
        Assert.Contains("failed to open subdir ../../..", await FailAsync(host.Url + "/repo.git#main:../../.." + outside), StringComparison.Ordinal);
        Assert.True(File.Exists(outside + "/precious"));
        // References and addresses that look like options.
        var marker = outside + "/ran";
        await File.WriteAllTextAsync(outside + "/evil", $"#!/bin/sh\ntouch {marker}\n");
        File.SetUnixFileMode(outside + "/evil", (UnixFileMode)0x1ED);
        Assert.Contains(
            $"repository does not contain ref --upload-pack={outside}/evil", await FailAsync($"{host.Url}/repo.git#--upload-pack={outside}/evil"), StringComparison.Ordinal);
        Assert.False(File.Exists(marker));
        // Hooks of the machine's templates and settings of its users play no part.
        using var output = new TempDirectory();
        Assert.Contains("way", Names(await AddAsync(output, host.Url + "/repo.git", "--keep-git-dir=true")));
    }

    [EndToEndFact("git")]
    public async Task Builds_at_once_fetch_once()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("repo", ("a/x", "a"), ("b/y", "b"));
        await host.CreateAsync("twin", ("a/x", "a"), ("b/y", "b"));
        using var single = new ContextDirectory($"FROM scratch\nADD {host.Url}/twin.git#main:a /r/\n");
        (await Client.BuildAsync(single)).Succeeded();
        var once = host.Fetches;
        // The same commit in different parts: four sources, one fetch.
        var builds = new[] { ":a", ":b", "", ":a" }.Select(async part =>
        {
            using var context = new ContextDirectory($"FROM scratch\nADD {host.Url}/repo.git#main{part} /r/\n");
            return await Client.BuildAsync(context);
        });
        Assert.All(await Task.WhenAll(builds), build => build.Succeeded());
        Assert.Equal(2 * once, host.Fetches);
    }

    [EndToEndFact("git")]
    public async Task A_fetch_that_is_given_up_leaves_nothing_in_the_way_of_the_next()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("repo", ("a.txt", Guid.NewGuid().ToString("N")));
        host.HoldsFetches = true;
        using var context = new ContextDirectory($"FROM scratch\nADD {host.Url}/repo.git#main /r/\n");
        await using (var given = Client.Start(context))
        {
            while (host.Fetches == 0)
            {
                Assert.True(given.IsRunning, given.Output);
                await Task.Delay(20);
            }
            await given.InterruptAsync();
            Assert.NotEqual(0, await given.EndAsync());
        }
        await host.Abandoned;
        host.HoldsFetches = false;
        (await Client.BuildAsync(context)).Succeeded().AssertAdded();
    }

    [EndToEndFact("git")]
    public async Task The_cache_tells_what_it_keeps_of_repositories()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("repo", ("a.txt", "one"));
        using var output = new TempDirectory();
        await AddAsync(output, host.Url.Replace("://", "://me:geheim@", StringComparison.Ordinal) + "/repo.git#main");
        var usage = (await Client.RunAsync(["du", "-v"])).Succeeded().Text;
        var shown = host.Url.Replace("://", "://xxxxx:xxxxx@", StringComparison.Ordinal) + "/repo.git";
        Assert.Contains("shared git repo for " + shown, usage, StringComparison.Ordinal);
        Assert.Contains($"git snapshot for {shown}#main", usage, StringComparison.Ordinal);
        Assert.Contains("source.git.checkout", usage, StringComparison.Ordinal);
        Assert.DoesNotContain("geheim", usage, StringComparison.Ordinal);
    }

    [EndToEndFact("git", "sshd", "ssh", "ssh-keygen", "ssh-keyscan")]
    public async Task A_repository_behind_ssh_is_fetched_with_the_key_of_the_client()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync("repo", ("a.txt", "one"));
        await using var server = await SshServer.StartAsync();
        var source = $"ssh://root@127.0.0.1:{server.Port}{work.Bare}#main";
        Assert.Contains("no SSH key \"default\" forwarded from the client", await FailAsync(source), StringComparison.Ordinal);
        using var output = new TempDirectory();
        Assert.Equal("one", await File.ReadAllTextAsync(await AddAsync(output, source, "", "--ssh", "default=" + server.ClientKey) + "/a.txt"));
        Assert.Contains("Permission denied", await FailAsync(source + ":", "--keep-git-dir=true", "--ssh", "default=" + server.StrangeKey), StringComparison.Ordinal);
    }
}
