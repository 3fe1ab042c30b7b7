using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Bad input: the reference's words, exit code 1, and a daemon that goes on working.</summary>
public sealed class BadInputTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    private async Task<string> FailAsync(ContextDirectory context, params string[] arguments)
    {
        var failed = (await Client.BuildPlainAsync(context, arguments)).Failed();
        await AssertWorksAsync(Client, fixture.Base);
        return failed.Errors;
    }

    private static async Task AssertWorksAsync(Buildctl client, string image)
    {
        using var context = new ContextDirectory($"FROM {image}\nRUN echo {Guid.NewGuid():N} > /x\n");
        Assert.Single((await client.BuildAsync(context)).Succeeded().Trace.Executed);
    }

    [EndToEndFact]
    public async Task A_syntax_error_shows_its_line()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nCOPY --nope a b\nENV\n");
        Assert.EndsWith($"""
            Dockerfile:2
            --------------------
               1 |     FROM {fixture.Base}
               2 | >>> COPY --nope a b
               3 |     ENV
               4 |     {""}
            --------------------
            error: failed to solve: dockerfile parse error on line 2: unknown flag: --nope

            """, await FailAsync(context), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_missing_argument_shows_its_line()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nENV\n");
        Assert.EndsWith("error: failed to solve: dockerfile parse error on line 2: ENV requires at least one argument\n", await FailAsync(context), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task An_unknown_instruction_is_told_with_a_likely_one()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUNN echo hi\n");
        Assert.EndsWith($"""
            Dockerfile:2
            --------------------
               1 |     FROM {fixture.Base}
               2 | >>> RUNN echo hi
               3 |     {""}
            --------------------
            error: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)

            """, await FailAsync(context), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_missing_dockerfile_is_told()
    {
        using var context = new ContextDirectory();
        Assert.EndsWith("error: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory\n", await FailAsync(context), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_missing_file_in_copy_shows_its_line()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN echo a\nCOPY nothere.txt /x\n");
        var errors = await FailAsync(context);
        Assert.Contains("------\n > [3/3] COPY nothere.txt /x:\n------\nDockerfile:3\n--------------------\n", errors, StringComparison.Ordinal);
        Assert.Contains("   3 | >>> COPY nothere.txt /x\n", errors, StringComparison.Ordinal);
        Assert.Matches(@"error: failed to solve: failed to compute cache key: failed to calculate checksum of ref [0-9a-z]{25}::[0-9a-z]{25}: ""/nothere\.txt"": not found\n$", errors);
    }

    [EndToEndFact]
    public async Task A_failing_step_shows_its_output_exit_code_and_line()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN echo fine\nRUN echo last words && exit 3\n");
        var errors = await FailAsync(context);
        Assert.Contains("ERROR: process \"/bin/sh -c echo last words && exit 3\" did not complete successfully: exit code: 3\n", errors, StringComparison.Ordinal);
        Assert.Matches(@"------\n > \[3/3\] RUN echo last words && exit 3:\n\d+\.\d+ last words\n------\nDockerfile:3\n", errors);
        Assert.EndsWith($"""
            --------------------
               1 |     FROM {fixture.Base}
               2 |     RUN echo fine
               3 | >>> RUN echo last words && exit 3
               4 |     {""}
            --------------------
            error: failed to solve: process "/bin/sh -c echo last words && exit 3" did not complete successfully: exit code: 3

            """, errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_program_that_is_not_there_is_told()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN [\"/no/such/program\"]\n");
        Assert.Contains("process \"/no/such/program\" did not complete successfully", await FailAsync(context), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_failing_step_is_not_cached()
    {
        var id = Guid.NewGuid().ToString("N");
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN --mount=type=cache,id={id},target=/c test -e /c/second || {{ touch /c/second; exit 1; }}\n");
        (await Client.BuildPlainAsync(context)).Failed();
        Assert.Single((await Client.BuildAsync(context)).Succeeded().Trace.Executed);
    }

    [EndToEndFact]
    public async Task A_registry_that_does_not_answer_is_told_with_the_base_image()
    {
        using var context = new ContextDirectory("FROM 127.0.0.1:1/none:1\nRUN echo a\n");
        var errors = await FailAsync(context);
        Assert.Contains("------\n > [internal] load metadata for 127.0.0.1:1/none:1:\n------\nDockerfile:1\n", errors, StringComparison.Ordinal);
        Assert.Contains("   1 | >>> FROM 127.0.0.1:1/none:1\n", errors, StringComparison.Ordinal);
        Assert.Contains("error: failed to solve: 127.0.0.1:1/none:1: failed to resolve source metadata for 127.0.0.1:1/none:1: failed to do request: Head \"http", errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task An_image_that_is_not_there_is_told()
    {
        var name = $"{fixture.Registry.Host}/nothere:1";
        using var context = new ContextDirectory($"FROM {name}\nRUN echo a\n");
        Assert.EndsWith($"error: failed to solve: {name}: failed to resolve source metadata for {name}: {name}: not found\n", await FailAsync(context), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_push_that_cannot_connect_is_told()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN echo a\n");
        Assert.Contains("error: failed to solve: failed to push 127.0.0.1:1/app:1: failed to do request: ", await FailAsync(context, "--output", "type=image,name=127.0.0.1:1/app:1,push=true"), StringComparison.Ordinal);
    }

    [EndToEndTheory("htpasswd")]
    [InlineData(DockerRegistryAuth.Basic, false)]
    [InlineData(DockerRegistryAuth.Basic, true)]
    [InlineData(DockerRegistryAuth.Token, true)]
    public async Task Wrong_credentials_are_told(DockerRegistryAuth auth, bool hasCredentials)
    {
        await using var registry = await DockerRegistry.StartAsync(auth);
        await BaseImage.PushAsync(registry);
        using var temp = new TempDirectory();
        var client = new Buildctl(fixture.Daemon.Address, hasCredentials ? OutputTests.Credentials(temp, registry.Host, "wrong") : null);
        using var context = new ContextDirectory($"FROM {registry.Host}/base:latest\nRUN echo a\n");
        var pull = (await client.BuildPlainAsync(context)).Failed();
        Assert.Contains("   1 | >>> FROM ", pull.Errors, StringComparison.Ordinal);
        Assert.Contains($"error: failed to solve: {registry.Host}/base:latest: failed to resolve source metadata for {registry.Host}/base:latest: ", pull.Errors, StringComparison.Ordinal);
        Assert.Contains("401 Unauthorized", pull.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("wrong", pull.Errors, StringComparison.Ordinal);
        using var other = new ContextDirectory($"FROM {fixture.Base}\nRUN echo a\n");
        var push = (await client.BuildPlainAsync(other, "--output", $"type=image,name={registry.Host}/app:1,push=true")).Failed();
        Assert.Contains($"error: failed to solve: failed to push {registry.Host}/app:1: ", push.Errors, StringComparison.Ordinal);
        Assert.Contains("401 Unauthorized", push.Errors, StringComparison.Ordinal);
        await AssertWorksAsync(Client, fixture.Base);
    }

    [EndToEndFact]
    public async Task A_corrupt_blob_is_refused_and_a_repaired_one_taken()
    {
        await using var registry = await DockerRegistry.StartAsync();
        var layer = await BaseImage.PushAsync(registry);
        var blob = registry.BlobPath(layer.ToString());
        var good = await File.ReadAllBytesAsync(blob);
        var bad = (byte[])good.Clone();
        bad[5000] ^= 0xff;
        await File.WriteAllBytesAsync(blob, bad);
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory($"FROM {registry.Host}/base:latest\nRUN echo hi\n");
        var failed = (await client.BuildPlainAsync(context)).Failed();
        Assert.Contains("   2 | >>> RUN echo hi\n", failed.Errors, StringComparison.Ordinal);
        Assert.Contains($"error: failed to solve: failed to compute cache key: failed commit on ref \"layer-{layer}\": unexpected commit digest sha256:", failed.Errors, StringComparison.Ordinal);
        Assert.Contains($", expected {layer}: failed precondition\n", failed.Errors, StringComparison.Ordinal);
        await File.WriteAllBytesAsync(blob, good);
        (await client.BuildAsync(context)).Succeeded();
    }

    [EndToEndFact]
    public async Task A_full_disk_is_told_and_the_daemon_works_again_after_pruning()
    {
        using var temp = new TempDirectory();
        var root = temp.Sub("root");
        Mounts.Mount(new MountPoint("tmpfs", "tmpfs", ["size=48m"]), root);
        await using var daemon = await DaemonProcess.StartAsync(root);
        var client = new Buildctl(daemon.Address);
        using var run = new ContextDirectory($"FROM {fixture.Base}\nRUN dd if=/dev/zero of=/big bs=1M count=100\n");
        var failed = (await client.BuildPlainAsync(run)).Failed();
        Assert.Contains("No space left on device", failed.Errors, StringComparison.Ordinal);
        Assert.Contains("error: failed to solve: process \"/bin/sh -c dd if=/dev/zero of=/big bs=1M count=100\" did not complete successfully: exit code: 1", failed.Errors, StringComparison.Ordinal);
        using var copy = new ContextDirectory("FROM scratch\nCOPY big /\n").Write("big", System.Security.Cryptography.RandomNumberGenerator.GetBytes(60 << 20));
        Assert.Contains("no space left on device", (await client.BuildPlainAsync(copy)).Failed().Errors, StringComparison.OrdinalIgnoreCase);
        await client.PruneAllAsync();
        await AssertWorksAsync(client, fixture.Base);
        await daemon.StopAsync();
    }

    [EndToEndFact]
    public async Task No_daemon_at_the_address_is_told()
    {
        using var context = new ContextDirectory("FROM scratch\n");
        var failed = (await new Buildctl("unix:///nonexistent/b.sock").BuildPlainAsync(context)).Failed();
        Assert.Contains("error: ", failed.Errors, StringComparison.Ordinal);
        Assert.Contains("/nonexistent/b.sock", failed.Errors, StringComparison.Ordinal);
    }
}
