using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>The daemon is killed in the middle of its work and started again.</summary>
public sealed class CrashTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private string Finished(string random) => $"""
        FROM {fixture.Base} AS done
        COPY source.txt /src/
        RUN od -An -N8 -tx1 /dev/urandom > /random && echo {random}
        RUN dd if=/dev/urandom of=/big bs=1M count=48 && sha256sum /big > /sum
        """;

    [EndToEndFact]
    public async Task Killed_during_a_step()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        var seconds = Random.Shared.Next(100_000, 999_999);
        using var context = new ContextDirectory(Finished("x")).Write("source.txt", "s");
        using var output = new TempDirectory();
        (await client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/1")).Succeeded();
        context.Write("Dockerfile", Finished("x") + $"\nRUN --mount=type=cache,id=c,target=/c --mount=type=tmpfs,target=/t echo sta''rted; sleep {seconds}\n");
        await using (var build = client.Start(context))
        {
            await build.WaitForAsync("started");
            Assert.NotEmpty(HostProcesses.With($"sleep\0{seconds}"));
            await daemon.KillAsync();
            Assert.Equal(1, await build.EndAsync());
        }
        await daemon.StartAgainAsync();
        await HostProcesses.GoneAsync($"sleep\0{seconds}");
        await AssertSoundAsync(daemon, client, context, Finished("x"), output.Path);
    }

    [EndToEndTheory]
    [InlineData("oci")]
    [InlineData("local")]
    [InlineData("image")]
    public async Task Killed_during_an_export(string type)
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Finished("y")).Write("source.txt", "s");
        using var output = new TempDirectory();
        (await client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/1")).Succeeded();
        var (argument, mark) = type switch
        {
            "oci" => ($"type=oci,dest={output.Path}/o.tar", "exporting layers"),
            "local" => ($"type=local,dest={output.Path}/killed", "exporting to client directory"),
            _ => ($"type=image,name={fixture.Registry.Host}/killed:1,push=true", "exporting layers"),
        };
        await using (var build = client.Start(context, "--output", argument))
        {
            await build.WaitForAsync(mark);
            await daemon.KillAsync();
            await build.EndAsync();
        }
        await daemon.StartAgainAsync();
        await AssertSoundAsync(daemon, client, context, Finished("y"), output.Path);
        (await client.BuildAsync(context, "--output", argument)).Succeeded();
    }

    [EndToEndTheory]
    [InlineData(0)]
    [InlineData(30)]
    [InlineData(120)]
    public async Task Killed_during_a_prune(int millisecondsAfterTheStart)
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Finished("z")).Write("source.txt", "s");
        using var other = new ContextDirectory($"FROM {fixture.Base}\n" + string.Concat(Enumerable.Range(0, 12).Select(i => $"RUN echo {i} > /f{i}\n")));
        using var output = new TempDirectory();
        (await client.BuildAsync(other)).Succeeded();
        (await client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/1")).Succeeded();
        int Snapshots() => Directory.GetDirectories(daemon.Root, "*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 3, IgnoreInaccessible = true, AttributesToSkip = 0 }).Length;
        var before = Snapshots();
        await using (var prune = client.Start(["prune", "--all"]))
        {
            if (millisecondsAfterTheStart == 0)
            {
                // The moment something is gone.
                while (Snapshots() == before && prune.IsRunning)
                    await Task.Delay(1);
            }
            else
                await Task.Delay(millisecondsAfterTheStart);
            await daemon.KillAsync();
            await prune.EndAsync();
        }
        await daemon.StartAgainAsync();
        await AssertCleanAsync(daemon);

        // What was pruned is gone, what is left is whole: either way the builds are right.
        (await client.BuildAsync(other)).Succeeded();
        (await client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/2")).Succeeded();
        await AssertSumAsync($"{output.Path}/2");
        (await client.RunAsync(["prune", "--all"])).Succeeded();
        Assert.Matches(@"Total:\s+0B?\s", (await client.RunAsync(["du"])).Succeeded().Text);
    }

    [EndToEndFact]
    public async Task Killed_while_it_pulls()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Finished("p")).Write("source.txt", "s");
        await using (var build = client.Start(context))
        {
            await build.WaitForAsync("FROM ");
            await daemon.KillAsync();
            await build.EndAsync();
        }
        await daemon.StartAgainAsync();
        await AssertCleanAsync(daemon);
        using var output = new TempDirectory();
        (await client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/1")).Succeeded();
        await AssertSumAsync($"{output.Path}/1");
    }

    /// <summary>Nothing is left over, what was finished is cached, and its files are what they were.</summary>
    private static async Task AssertSoundAsync(DaemonProcess daemon, Buildctl client, ContextDirectory context, string dockerfile, string output)
    {
        await AssertCleanAsync(daemon);
        context.Write("Dockerfile", dockerfile);
        var again = (await client.BuildAsync(context, "--output", $"type=local,dest={output}/2")).Succeeded();
        Assert.Empty(again.Trace.Executed);
        Assert.Equal(await File.ReadAllTextAsync($"{output}/1/random"), await File.ReadAllTextAsync($"{output}/2/random"));
        await AssertSumAsync($"{output}/2");
    }

    /// <summary>A daemon that started removes what is left in the background: it is given the time that takes.</summary>
    private static async Task AssertCleanAsync(DaemonProcess daemon)
    {
        Assert.Empty(daemon.MountsBelowRoot());
        for (var tries = 0; Leftovers(daemon.Root).Count > 0 && tries < 300; tries++)
            await Task.Delay(100);
        Assert.Empty(Leftovers(daemon.Root));
    }

    /// <summary>Directories of containers and files under construction in the daemon's root.</summary>
    private static List<string> Leftovers(string root) =>
    [
        .. Directory.EnumerateFileSystemEntries(root, "*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4, IgnoreInaccessible = true, AttributesToSkip = 0, ReturnSpecialDirectories = false })
            .Where(path =>
            {
                var relative = Path.GetRelativePath(root, path);
                var parts = relative.Split('/');
                return !parts.Contains("fs") && !parts.Contains("rootfs")
                    && (parts[^1].EndsWith(".tmp", StringComparison.Ordinal) || (parts.Length > 1 && parts[^2] is "ingest" or "tmp" or "containers" or "state" or "trash" or "mounts"));
            })
            .Select(path => Path.GetRelativePath(root, path)),
    ];

    private static async Task AssertSumAsync(string directory)
    {
        var expected = (await File.ReadAllTextAsync($"{directory}/sum")).Split(' ')[0];
        await using var big = File.OpenRead($"{directory}/big");
        Assert.Equal(expected, Convert.ToHexStringLower(await System.Security.Cryptography.SHA256.HashDataAsync(big)));
    }
}
