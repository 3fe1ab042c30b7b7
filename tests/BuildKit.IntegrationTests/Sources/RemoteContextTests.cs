using System.Formats.Tar;
using System.IO.Compression;
using System.Text;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Sources;

/// <summary>Build contexts that are no directory of the client, and contexts with names.</summary>
public sealed class RemoteContextTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    /// <summary>Builds without any local directory; the files of the result.</summary>
    private async Task<string> BuildAsync(TempDirectory output, params string[] arguments)
    {
        (await Client.RunAsync(["build", "--progress=plain", "--frontend", "dockerfile.v0", "--output", $"type=local,dest={output.Path}/o", .. arguments])).Succeeded();
        return output.Path + "/o/";
    }

    private static async Task<byte[]> TarAsync(bool gzip, params (string Path, string Text)[] files)
    {
        using var bytes = new MemoryStream();
        Stream target = gzip ? new GZipStream(bytes, CompressionLevel.Fastest, leaveOpen: true) : bytes;
        await using (var writer = new TarWriter(target, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var (path, text) in files)
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, path) { DataStream = new MemoryStream(Encoding.UTF8.GetBytes(text)), Mode = (UnixFileMode)0x1A4 });
        }
        if (gzip)
            await target.DisposeAsync();
        return bytes.ToArray();
    }

    [EndToEndFact("git")]
    public async Task A_repository_is_a_context()
    {
        await using var host = await GitHost.StartAsync();
        var work = await host.CreateAsync(
            "repo", ("Dockerfile", "FROM scratch\nCOPY . /all/\n"), ("a.txt", "a"), (".dockerignore", "a.txt\n"),
            ("sub/Dockerfile", "FROM scratch\nCOPY b.txt /from-sub\n"), ("sub/b.txt", "b"), ("sub/other.df", "FROM scratch\nCOPY b.txt /other\n"));
        using var output = new TempDirectory();
        var files = await BuildAsync(output, "--opt", $"context={host.Url}/repo.git");
        // Nothing is sent, so nothing is left out.
        Assert.Equal("a", await File.ReadAllTextAsync(files + "all/a.txt"));
        Assert.False(Directory.Exists(files + "all/.git"));
        using var kept = new TempDirectory();
        Assert.True(Directory.Exists(await BuildAsync(kept, "--opt", $"context={host.Url}/repo.git#main", "--opt", "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR=1") + "all/.git"));
        using var sub = new TempDirectory();
        Assert.Equal("b", await File.ReadAllTextAsync(await BuildAsync(sub, "--opt", $"context={host.Url}/repo.git#main:sub") + "from-sub"));
        using var other = new TempDirectory();
        Assert.Equal("b", await File.ReadAllTextAsync(await BuildAsync(other, "--opt", $"context={host.Url}/repo.git#:sub", "--opt", "filename=other.df") + "other"));
        var fetches = host.Fetches;
        await work.CommitAsync(("sub/b.txt", "c"));
        using var moved = new TempDirectory();
        Assert.Equal("c", await File.ReadAllTextAsync(await BuildAsync(moved, "--opt", $"context={host.Url}/repo.git#main:sub") + "from-sub"));
        Assert.True(host.Fetches > fetches);
        // The short form takes the address as it is.
        (await Client.RunAsync(["build", "--output", $"type=local,dest={moved.Path}/short", $"{host.Url}/repo.git#main:sub"])).Succeeded();
        Assert.Equal("c", await File.ReadAllTextAsync(moved.Path + "/short/from-sub"));
    }

    [EndToEndFact("git")]
    public async Task A_private_repository_is_a_context_for_who_has_the_token()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("repo", ("Dockerfile", "FROM scratch\nCOPY a.txt /\n"), ("a.txt", "a"));
        host.Authorization = "basic " + Convert.ToBase64String("x-access-token:t"u8);
        using var secrets = new ContextDirectory().Write("t", "t");
        using var output = new TempDirectory();
        Assert.Equal("a", await File.ReadAllTextAsync(
            await BuildAsync(output, "--opt", $"context={host.Url}/repo.git", "--secret", "id=GIT_AUTH_TOKEN,src=" + secrets["t"]) + "a.txt"));
    }

    [EndToEndFact]
    public async Task An_archive_on_the_web_is_a_context()
    {
        foreach (var gzip in new[] { false, true })
        {
            var file = new WebFile(await TarAsync(gzip, ("Dockerfile", "FROM scratch\nCOPY sub /s/\n"), ("sub/x", gzip.ToString())));
            await using var server = await WebServer.StartAsync(file.AnswerAsync);
            using var output = new TempDirectory();
            Assert.Equal(gzip.ToString(), await File.ReadAllTextAsync(await BuildAsync(output, "--opt", $"context={server.Url}/c.tar") + "s/x"));
            using var inside = new TempDirectory();
            var scoped = new WebFile(await TarAsync(gzip, ("Dockerfile", "FROM scratch\nCOPY x /\n"), ("sub/x", "scoped")));
            await using var second = await WebServer.StartAsync(scoped.AnswerAsync);
            Assert.Equal("scoped", await File.ReadAllTextAsync(await BuildAsync(inside, "--opt", $"context={second.Url}/c.tar", "--opt", "contextsubdir=sub") + "x"));
        }
    }

    [EndToEndFact]
    public async Task A_Dockerfile_on_the_web_is_a_context()
    {
        var file = new WebFile("FROM scratch\nCOPY <<x /made\nhere\nx\n"u8.ToArray());
        await using var server = await WebServer.StartAsync(file.AnswerAsync);
        using var output = new TempDirectory();
        Assert.Equal("here\n", await File.ReadAllTextAsync(await BuildAsync(output, "--opt", $"context={server.Url}/Dockerfile") + "made"));
        await using var broken = await WebServer.StartAsync(context =>
        {
            context.Response.StatusCode = 503;
            return Task.CompletedTask;
        });
        var failed = (await Client.RunAsync(["build", "--progress=plain", "--frontend", "dockerfile.v0", "--opt", $"context={broken.Url}/Dockerfile"])).Failed();
        Assert.Contains("failed to read downloaded context: failed to load cache key: invalid response status 503", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Standard_input_is_a_context()
    {
        using var output = new TempDirectory();
        var tar = await TarAsync(gzip: true, ("Dockerfile", "FROM scratch\nCOPY x /\n"), ("other.df", "FROM scratch\nCOPY x /other\n"), ("x", "from tar"));
        (await Client.RunAsync(["build", "-o", $"type=local,dest={output.Path}/a", "-"], tar)).Succeeded();
        Assert.Equal("from tar", await File.ReadAllTextAsync(output.Path + "/a/x"));
        (await Client.RunAsync(["build", "-f", "other.df", "-o", $"type=local,dest={output.Path}/b", "-"], tar)).Succeeded();
        Assert.Equal("from tar", await File.ReadAllTextAsync(output.Path + "/b/other"));
        (await Client.RunAsync(["build", "-o", $"type=local,dest={output.Path}/c", "-"], "FROM scratch\nCOPY <<y /y\nyes\ny\n"u8.ToArray())).Succeeded();
        Assert.Equal("yes\n", await File.ReadAllTextAsync(output.Path + "/c/y"));
    }

    [EndToEndFact("git")]
    public async Task Contexts_with_names_take_the_place_of_images_and_stages()
    {
        await using var host = await GitHost.StartAsync();
        await host.CreateAsync("repo", ("g.txt", "git"));
        var file = new WebFile("web"u8.ToArray());
        await using var server = await WebServer.StartAsync(file.AnswerAsync);
        using var local = new ContextDirectory().Write("l.txt", "local").Write("no.txt", "no").Write(".dockerignore", "no.txt\n");
        using var context = new ContextDirectory("""
            FROM base AS made
            RUN echo image > /i.txt
            FROM scratch AS replaced
            COPY missing /
            FROM scratch
            COPY --from=made /i.txt /
            COPY --from=gitctx /g.txt /
            COPY --from=webctx /f.txt /
            COPY --from=replaced . /l/
            """);
        string[] names =
        [
            "--opt", $"context:base=docker-image://{fixture.Base}", "--opt", $"context:gitctx={host.Url}/repo.git#main", "--opt", $"context:webctx={server.Url}/f.txt",
            "--opt", "context:replaced=local:replaced", "--local", "replaced=" + local.Path,
        ];
        using var output = new TempDirectory();
        var build = (await Client.BuildAsync(context, ["--output", $"type=local,dest={output.Path}/o", .. names])).Succeeded();
        Assert.Equal("image\n", await File.ReadAllTextAsync(output.Path + "/o/i.txt"));
        Assert.Equal("git", await File.ReadAllTextAsync(output.Path + "/o/g.txt"));
        Assert.Equal("web", await File.ReadAllTextAsync(output.Path + "/o/f.txt"));
        Assert.Equal("local", await File.ReadAllTextAsync(output.Path + "/o/l/l.txt"));
        Assert.False(File.Exists(output.Path + "/o/l/no.txt"));
        Assert.NotNull(build.Trace.Step($"[context base] {fixture.Base}"));
        Assert.NotNull(build.Trace.Step("[context replaced] load from client"));
        Assert.Empty((await Client.BuildAsync(context, names)).Succeeded().Trace.Executed);
        using var nothing = new ContextDirectory("FROM scratch\nCOPY --from=x / /\n");
        Assert.Contains("unsupported context source ftp for x", (await Client.BuildPlainAsync(nothing, "--opt", "context:x=ftp://h/x")).Failed().Errors, StringComparison.Ordinal);
    }
}
