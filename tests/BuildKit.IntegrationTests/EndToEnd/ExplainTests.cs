using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Why steps were executed, asked with the programs people use.</summary>
public sealed partial class ExplainTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    private string Dockerfile => $"""
        FROM {fixture.Base} AS build
        WORKDIR /{Unique}
        COPY src /src
        ARG LEVEL=1
        RUN cat /src/main.c > /app && echo {Unique} $LEVEL
        RUN test -s /app
        FROM scratch
        COPY --from=build /app /

        """;

    private string Unique { get; } = Guid.NewGuid().ToString("N");

    [EndToEndFact]
    public async Task Changed_files_are_named_below_the_progress_and_again_later()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Dockerfile).Write("src/main.c", "one").Write("src/old.h", "x").Write("other/file", "1");
        Assert.Equal("ran because it was never built here", Told(await client.BuildPlainAsync(context, "--explain-cache"), "COPY src /src"));

        context.Write("src/main.c", "two").Write("src/new.h", "y").Write("other/file", "2");
        File.Delete(context["src/old.h"]);
        var changed = (await client.BuildPlainAsync(context, "--explain-cache", "--ref-file", context["ref"])).Succeeded();
        const string files = "modified src/main.c (content), added src/new.h, removed src/old.h";
        Assert.Equal($"ran because its files changed since TIME\n  {files}", Told(changed, "COPY src /src"));
        Assert.Equal("ran because its input changed: COPY src /src has other files than on TIME\n  modified src/main.c (content), added src/new.h, 1 more", Told(changed, "RUN test -s /app"));
        Assert.Equal("ran because the files it takes from RUN test -s /app changed since TIME\n  modified app (content)", Told(changed, "COPY --from=build /app /"));
        var number = Regex.Match(changed.Errors, @"(?m)^#(\d+) \[build 3/5\] COPY src /src$").Groups[1].Value;
        Assert.Contains($"\nWhy steps were executed:\n#{number} [build 3/5] COPY src /src\n", changed.Errors, StringComparison.Ordinal);
        Assert.Contains("3 steps read the client's files", changed.Errors, StringComparison.Ordinal);

        await daemon.StopAsync();
        await daemon.StartAgainAsync();
        var reference = await File.ReadAllTextAsync(context["ref"]);
        foreach (var asked in new[] { [reference], Array.Empty<string>() })
            Assert.Equal($"ran because its files changed since TIME\n  {files}", Told((await client.RunAsync(["debug", "explain", .. asked])).Succeeded().Text, "COPY src /src"));
        var unknown = await client.RunAsync(["debug", "explain", "nosuchref"]);
        Assert.Equal((1, "error: build nosuchref is not remembered\n"), (unknown.ExitCode, unknown.Errors));

        var again = (await client.BuildPlainAsync(context, "--explain-cache")).Succeeded();
        Assert.Contains("Every step came from the cache.\n", again.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_changed_mode_is_told_from_a_changed_content_of_the_same_size()
    {
        using var context = new ContextDirectory(Dockerfile).Write("src/main.c", Unique).Write("src/a.sh", "a").Write("src/b.sh", "b");
        (await Client.BuildPlainAsync(context)).Succeeded();
        context.Write("src/b.sh", "B");
        File.SetUnixFileMode(context["src/a.sh"], (UnixFileMode)0x1ED);
        File.SetUnixFileMode(context["src/b.sh"], (UnixFileMode)0x1ED);
        var build = (await Client.BuildPlainAsync(context, "--explain-cache")).Succeeded();
        Assert.Equal("ran because its files changed since TIME\n  modified src/a.sh (mode 0644 -> 0755), modified src/b.sh (content, mode 0644 -> 0755)", Told(build, "COPY src /src"));
    }

    [EndToEndFact]
    public async Task Arguments_commands_and_no_cache_are_told()
    {
        using var context = new ContextDirectory(Dockerfile).Write("src/main.c", Unique);
        var run = "RUN cat /src/main.c > /app && echo " + Unique;
        (await Client.BuildPlainAsync(context)).Succeeded();
        var argument = (await Client.BuildPlainAsync(context, "--explain-cache", "--opt", "build-arg:LEVEL=2")).Succeeded();
        Assert.Equal("ran because the build argument LEVEL changed since TIME: 1 -> 2", FirstLine(Told(argument, run + " 2")));
        context.Write("Dockerfile", Dockerfile.Replace("test -s /app", "test -f /app", StringComparison.Ordinal));
        var command = (await Client.BuildPlainAsync(context, "--explain-cache")).Succeeded();
        Assert.Equal("ran because its command changed since TIME: test -s /app -> test -f /app", Told(command, "RUN test -f /app"));
        var none = (await Client.BuildPlainAsync(context, "--explain-cache", "--no-cache")).Succeeded();
        Assert.Equal("ran because the cache was not to be used (no-cache); else its result of TIME would have been taken", Told(none, "COPY src /src"));
    }

    [EndToEndFact]
    public async Task A_pruned_result_is_told_with_what_pruned_it()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Dockerfile).Write("src/main.c", "one");
        (await client.BuildPlainAsync(context)).Succeeded();
        await client.PruneAllAsync();
        var build = (await client.BuildPlainAsync(context, "--explain-cache")).Succeeded();
        foreach (var step in new[] { "COPY src /src", "RUN test -s /app", "COPY --from=build /app /" })
            Assert.Equal("ran because its result of TIME was pruned on TIME by buildctl prune (all)", Told(build, step));
    }

    [EndToEndFact]
    public async Task Another_base_image_under_the_same_name_is_told()
    {
        var name = $"moving-{Unique}:latest";
        await BaseImage.PushAsync(fixture.Registry, name);
        using var context = new ContextDirectory($"FROM {fixture.Registry.Host}/{name}\nCOPY a /a\n").Write("a", Unique);
        (await Client.BuildPlainAsync(context)).Succeeded();
        using var tar = new MemoryStream();
        await using (var writer = new System.Formats.Tar.TarWriter(tar, leaveOpen: true))
            await writer.WriteEntryAsync(new System.Formats.Tar.PaxTarEntry(System.Formats.Tar.TarEntryType.Directory, "bin"));
        await BaseImage.PushAsync(fixture.Registry, name, tar.ToArray());
        var build = (await Client.BuildPlainAsync(context, "--explain-cache")).Succeeded();
        Assert.Matches(
            $"^ran because its input changed: the base image {fixture.Registry.Host}/{name} is another one than on TIME: sha256:[0-9a-f]{{12}} -> sha256:[0-9a-f]{{12}}$",
            Told(build, "COPY a /a"));
    }

    [EndToEndFact]
    public async Task Imports_that_cannot_be_used_are_told()
    {
        using var context = new ContextDirectory(Dockerfile).Write("src/main.c", Unique);
        context.Write("Dockerfile", $"FROM {fixture.Base} AS s{Unique[..8]}\nCOPY src /{Unique}\n");
        var missing = $"{fixture.Registry.Host}/none-{Unique}:latest";
        var build = (await Client.BuildPlainAsync(context, "--explain-cache", "--import-cache", $"type=registry,ref={missing}", "--import-cache", "type=registry,ref=127.0.0.1:1/cache:latest")).Succeeded();
        Assert.Matches("never built here.* and the imported cache 127.0.0.1:1/cache:latest could not be used: it cannot be reached", Told(build, "COPY src /" + Unique));
        Assert.Contains($" and the imported cache {missing} could not be used: it does not exist", Told(build, "COPY src /" + Unique), StringComparison.Ordinal);
        Assert.Contains($"The imported cache {missing} was not used: it does not exist (", build.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Raw_json_ends_with_a_record_of_its_own_and_a_failed_build_is_explained_too()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base} AS s{Unique[..8]}\nRUN echo {Unique}; exit 3\n");
        var build = await Client.BuildAsync(context, "--explain-cache");
        Assert.Equal(1, build.Result.ExitCode);
        var line = Assert.Single(build.Result.Errors.Split('\n'), line => line.Contains("\"explanations\"", StringComparison.Ordinal));
        using var json = JsonDocument.Parse(line);
        var steps = json.RootElement.GetProperty("explanations").EnumerateArray().ToList();
        Assert.Equal("never", Assert.Single(steps, step => step.GetProperty("name").GetString()!.EndsWith("exit 3", StringComparison.Ordinal)).GetProperty("cause").GetString());
        Assert.Contains(steps, step => step.GetProperty("cause").GetString() == "client-files"); // the Dockerfile itself

        var repeated = await Client.BuildPlainAsync(context, "--explain-cache");
        Assert.Equal("ran because it failed when it last ran, on TIME", Told(repeated, $"RUN echo {Unique}; exit 3"));
        Assert.True(repeated.Errors.IndexOf("Why steps were executed", StringComparison.Ordinal) < repeated.Errors.IndexOf("error: failed to solve", StringComparison.Ordinal), repeated.Errors);
    }

    [EndToEndFact]
    public async Task A_build_that_does_not_ask_is_told_nothing_and_can_be_explained_later()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base} AS s{Unique[..8]}\nRUN echo {Unique}\n");
        var build = (await Client.BuildPlainAsync(context, "--ref-file", context["ref"])).Succeeded();
        Assert.DoesNotContain("Why steps", build.Errors, StringComparison.Ordinal);
        var later = (await Client.RunAsync(["debug", "explain", "--format", "json", await File.ReadAllTextAsync(context["ref"])])).Succeeded();
        using var json = JsonDocument.Parse(later.Text);
        Assert.Contains(json.RootElement.GetProperty("explanations").EnumerateArray(), step => step.GetProperty("cause").GetString() == "never");
    }

    private static string Told(ProgramResult result, string step) => Told(result.Text + result.Errors, step);

    /// <summary>What is told of a step, with its times made equal.</summary>
    private static string Told(string output, string step)
    {
        var lines = output.Split("Why steps were executed:\n", 2) is [_, var told] ? told.Split('\n') : [];
        var block = lines.SkipWhile(line => !line.EndsWith("] " + step, StringComparison.Ordinal)).Skip(1).TakeWhile(line => line.StartsWith("   ", StringComparison.Ordinal)).Select(line => line[3..]).ToList();
        Assert.True(block.Count > 0, $"nothing is told of {step}:\n{output}");
        return Time().Replace(string.Join('\n', block), "TIME");
    }

    private static string FirstLine(string text) => text.Split('\n')[0];

    [GeneratedRegex(@"\b\d{1,2} [A-Z][a-z]{2} \d\d:\d\d")]
    private static partial Regex Time();
}
