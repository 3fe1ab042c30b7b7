using System.Formats.Tar;
using System.Text;
using BuildKit.IntegrationTests.EndToEnd.Attestations;
using BuildKit.IntegrationTests.Support;
using BuildKit.Llb;
using BuildKit.Protocol.ErrDefs;
using BuildKit.Protocol.Errors;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>A daemon and a registry with our own frontend as an image.</summary>
public sealed class FrontendImageFixture : IAsyncLifetime
{
    public BuildFixture Build { get; } = new();

    /// <summary>Name of the frontend's image.</summary>
    public string Frontend { get; private set; } = "";

    public async Task InitializeAsync()
    {
        await Build.InitializeAsync();
        if (Build.Registry is not null)
            Frontend = await FrontendImage.PushAsync(Build.Registry);
    }

    public Task DisposeAsync() => Build.DisposeAsync();
}

/// <summary>Frontends in images, <c>gateway.v0</c> (spec 01 §6.5).</summary>
public sealed class FrontendImageTests(FrontendImageFixture fixture) : IClassFixture<FrontendImageFixture>
{
    private Buildctl Client => fixture.Build.Client;

    private string Base => fixture.Build.Base;

    private Task<GatewayDriver> StartAsync() => GatewayDriver.StartAsync(fixture.Build.Daemon.Address);

    /// <summary>Pushes the base image with another container configuration; its name.</summary>
    private async Task<string> PushScriptAsync(string name, string script, string labels = "")
    {
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var (path, bytes) in new[] { ("bin/sh", await File.ReadAllBytesAsync("/bin/busybox")), ("frontend", Encoding.UTF8.GetBytes("#!/bin/sh\n" + script + "\n")) })
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, path) { Mode = (UnixFileMode)0x1ED, DataStream = new MemoryStream(bytes) });
            foreach (var applet in new[] { "sleep", "test" })
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + applet) { LinkName = "sh" });
        }
        await FrontendImage.PushAsync(fixture.Build.Registry, name, tar.ToArray(), $$"""{"Env":["PATH=/bin","FROM_IMAGE=yes"],"Entrypoint":["/frontend"],"Cmd":["ignored"],"Labels":{ {{labels}} } }""");
        return $"{fixture.Build.Registry.Host}/{name}";
    }

    [EndToEndFact("ldd")]
    public async Task A_syntax_line_runs_the_image_it_names()
    {
        using var context = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM {Base} AS work\nARG WHO\nCOPY file /file\nRUN echo hello $WHO from $(cat /file) > /out\nFROM scratch\nCOPY --from=work /out /\n").Write("file", "the context");
        using var output = new TempDirectory();
        var built = (await Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o", "--opt", "build-arg:WHO=you=me")).Succeeded();
        Assert.Equal("hello you=me from the context\n", await File.ReadAllTextAsync($"{output.Path}/o/out"));
        Assert.Contains(built.Trace.Vertices, v => v.Name == $"resolve image config for docker-image://{fixture.Frontend}");
        Assert.Contains(built.Trace.Vertices, v => v.Name.StartsWith($"docker-image://{fixture.Frontend}@sha256:", StringComparison.Ordinal));
    }

    [EndToEndFact("ldd")]
    public async Task What_a_frontend_attests_comes_through_the_one_that_called_it()
    {
        var scanner = await ScannerImage.PushAsync(fixture.Build.Registry);
        using var context = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM {Base}\nCOPY hello.txt /\n").Write("hello.txt", "hi\n");
        var documents = await Statements.BuildAsync(Client, context, "--opt", $"attest:sbom=generator={scanner}", "--opt", "attest:provenance=mode=max");
        Assert.Single(documents.Of(Statements.Sbom));
        var provenance = Assert.Single(documents.Of(Statements.Provenance));
        Assert.Equal("gateway.v0", provenance.At("invocation", "parameters", "frontend").GetString());
        Assert.Equal($$"""{"cmdline":"{{fixture.Frontend}}","source":"{{fixture.Frontend}}"}""", provenance.At("invocation", "parameters", "args").GetRawText());
        // The frontend and the scanner were asked for without a platform.
        var host = Uri.EscapeDataString(fixture.Build.Registry.Host);
        Assert.Equal(
            [$"pkg:docker/{host}/base@latest?platform=linux%2Famd64", $"pkg:docker/{host}/frontend@latest", $"pkg:docker/{host}/tools/scan@v1"],
            provenance.At("materials").EnumerateArray().Select(material => material.At("uri").GetString()));
    }

    [EndToEndFact("ldd")]
    public async Task The_image_makes_what_the_built_in_frontend_makes()
    {
        using var context = new ContextDirectory($"FROM {Base}\nCOPY file /file\nRUN echo {Guid.NewGuid():N} > /out\nENV A=b\nCMD [\"x\"]\n").Write("file", "content");
        var one = await DigestAsync("dockerfile.v0");
        var again = await Client.RunAsync(Arguments("gateway.v0", "two"));
        var trace = BuildTrace.Parse(again.Succeeded().Errors);
        // The steps are the same, so the second build runs none of them.
        Assert.Empty(trace.Executed);
        Assert.Equal(one, await DigestAsync("gateway.v0"));

        async Task<string> DigestAsync(string frontend)
        {
            using var output = new TempDirectory();
            (await Client.RunAsync([.. Arguments(frontend, "one"), "--metadata-file", output.Path + "/m"])).Succeeded();
            return System.Text.Json.JsonDocument.Parse(await File.ReadAllBytesAsync(output.Path + "/m")).RootElement.GetProperty("containerimage.digest").GetString()!;
        }

        string[] Arguments(string frontend, string name) =>
        [
            "build", "--progress=rawjson", "--frontend", frontend, "--opt", "source=" + fixture.Frontend, "--local", "context=" + context.Path, "--local", "dockerfile=" + context.Path,
            "--opt", "build-arg:SOURCE_DATE_EPOCH=1", "--output", $"type=image,name={fixture.Build.Registry.Host}/made-{name},push=true",
        ];
    }

    [EndToEndFact("ldd")]
    public async Task Several_platforms_come_back_by_platform()
    {
        using var context = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM scratch\nARG TARGETARCH\nCOPY file-$TARGETARCH /\n").Write("file-amd64", "a").Write("file-386", "b");
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, "--opt", "platform=linux/amd64,linux/386", "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal("a", await File.ReadAllTextAsync($"{output.Path}/o/linux_amd64/file-amd64"));
        Assert.Equal("b", await File.ReadAllTextAsync($"{output.Path}/o/linux_386/file-386"));
    }

    [EndToEndFact("ldd")]
    public async Task Errors_of_the_image_show_the_lines_of_the_Dockerfile()
    {
        using var wrong = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM {Base}\nRUNN echo\n");
        var errors = (await Client.BuildPlainAsync(wrong)).Failed().Errors;
        Assert.Contains("   3 | >>> RUNN echo\n", errors, StringComparison.Ordinal);
        Assert.EndsWith("error: failed to solve: dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)\n", errors, StringComparison.Ordinal);
        using var failing = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM {Base}\nRUN echo last words && exit 3\n");
        errors = (await Client.BuildPlainAsync(failing)).Failed().Errors;
        Assert.Contains("   3 | >>> RUN echo last words && exit 3\n", errors, StringComparison.Ordinal);
        Assert.EndsWith("error: failed to solve: process \"/bin/sh -c echo last words && exit 3\" did not complete successfully: exit code: 3\n", errors, StringComparison.Ordinal);
    }

    [EndToEndFact("ldd")]
    public async Task Warnings_of_the_image_are_shown()
    {
        using var context = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM {Base} as base\nRUN true\n");
        Assert.Contains((await Client.BuildAsync(context)).Succeeded().Trace.Warnings, w => w.StartsWith("FromAsCasing: ", StringComparison.Ordinal));
    }

    [EndToEndFact("ldd")]
    public async Task Questions_are_answered_by_the_image()
    {
        using var context = new ContextDirectory($"# syntax={fixture.Frontend}\nFROM {Base} AS first\nFROM first AS second\n");
        var answer = (await Client.RunAsync(
            ["build", "--frontend", "dockerfile.v0", "--local", "context=" + context.Path, "--local", "dockerfile=" + context.Path, "--opt", "requestid=frontend.targets"])).Succeeded();
        Assert.Contains("first", answer.Text, StringComparison.Ordinal);
        Assert.Contains("second", answer.Text, StringComparison.Ordinal);
    }

    [EndToEndFact("ldd")]
    public async Task A_build_argument_chooses_the_image()
    {
        using var context = new ContextDirectory($"FROM {Base}\nRUN echo {Guid.NewGuid():N}\n");
        var built = (await Client.BuildAsync(context, "--opt", $"build-arg:BUILDKIT_SYNTAX={fixture.Frontend} with arguments")).Succeeded();
        Assert.Contains(built.Trace.Vertices, v => v.Name.StartsWith($"docker-image://{fixture.Frontend}@sha256:", StringComparison.Ordinal));
        var failed = (await Client.BuildPlainAsync(context, "--opt", $"build-arg:BUILDKIT_SYNTAX={fixture.Build.Registry.Host}/none:1")).Failed();
        Assert.Contains($"error: failed to solve: failed with build-arg:BUILDKIT_SYNTAX = {fixture.Build.Registry.Host}/none:1: failed to resolve source metadata for {fixture.Build.Registry.Host}/none:1: ", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact("ldd")]
    public async Task Inputs_reach_the_image_and_a_named_context_replaces_it()
    {
        await using var build = await StartAsync();
        var request = new SolveRequest { Frontend = "gateway.v0", AllowResultReturn = true, AllowResultArrayRef = true };
        request.FrontendOpt["source"] = "example.invalid/other/frontend:1";
        request.FrontendOpt["context:example.invalid/other/frontend:1"] = "docker-image://" + fixture.Frontend;
        request.FrontendInputs["dockerfile"] = await State.Scratch.File(Files.Mkfile("/Dockerfile", 0x1A4, "FROM scratch\nCOPY a /b\n"u8.ToArray())).MarshalAsync(new MarshalOptions(), build.Token);
        request.FrontendInputs["context"] = await State.Scratch.File(Files.Mkfile("/a", 0x1A4, "from an input"u8.ToArray())).MarshalAsync(new MarshalOptions(), build.Token);
        var solved = await build.CallAsync(LLBBridgeMethods.Solve, request);
        Assert.Equal("from an input", await build.ReadAsync(solved.Result.Ref.Id, "/b"));
        Assert.True(solved.Result.Metadata.ContainsKey("containerimage.config"));
        await build.ReturnAsync(solved.Result.Ref.Id);
    }

    [EndToEndFact]
    public async Task The_program_is_told_everything_in_its_environment()
    {
        var image = await PushScriptAsync("tells", "{ set; echo args $#; echo here $PWD; test -s /run/config/buildkit/metadata/frontend.bin && echo made of something; } >&2; exit 4");
        await using var build = await StartAsync();
        var error = await Assert.ThrowsAsync<RpcException>(() => build.RunFrontendAsync(
            "gateway.v0", new Dictionary<string, string>(StringComparer.Ordinal) { ["source"] = image, ["key"] = "a=b\nc" }));
        Assert.Equal("exit code: 4", error.Message);
        Assert.Equal(4u, Assert.Single(TypedErrors.Of<ExitMessage>(error.Details)).Code);
        foreach (var line in new[] { "BUILDKIT_FRONTEND_OPT_0='key=a=b", $"BUILDKIT_FRONTEND_OPT_1='source={image}'", "BUILDKIT_EXPORTEDPRODUCT='buildkit'", "BUILDKIT_SESSION_ID='", "FROM_IMAGE='yes'", "args 0", "here /", "made of something" })
            Assert.Contains($"frontend {image}: {line}", fixture.Build.Daemon.Log, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_program_that_prints_errors_and_fails_is_told_with_its_exit_code()
    {
        var image = await PushScriptAsync("fails", "echo \"FROM_IMAGE=$FROM_IMAGE $BUILDKIT_EXPORTEDPRODUCT $BUILDKIT_WORKERS panic: at the disco\" >&2; exit 2");
        using var context = new ContextDirectory($"# syntax={image}\nFROM scratch\n");
        var errors = (await Client.BuildPlainAsync(context)).Failed().Errors;
        Assert.Contains($"   1 | >>> # syntax={image}\n", errors, StringComparison.Ordinal);
        Assert.EndsWith("error: failed to solve: exit code: 2\n", errors, StringComparison.Ordinal);
        Assert.Contains($"frontend {image}: FROM_IMAGE=yes buildkit [{{\"id\":\"", fixture.Build.Daemon.Log.Replace("\\\"", "\"", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains("panic: at the disco", fixture.Build.Daemon.Log, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_program_that_ends_without_a_result_is_told()
    {
        var image = await PushScriptAsync("silent", "exit 0");
        await using var build = await StartAsync();
        var error = await Assert.ThrowsAsync<RpcException>(() => build.RunFrontendAsync("gateway.v0", new Dictionary<string, string>(StringComparer.Ordinal) { ["source"] = image }));
        Assert.Equal("no result for incomplete build", error.Message);
    }

    [EndToEndFact]
    public async Task A_program_that_speaks_something_else_is_ended()
    {
        var image = await PushScriptAsync("babbles", "echo this is no HTTP/2 at all, and a good deal longer than a preface; sleep 3333");
        await using var build = await StartAsync();
        var error = await Assert.ThrowsAsync<RpcException>(() => build.RunFrontendAsync("gateway.v0", new Dictionary<string, string>(StringComparer.Ordinal) { ["source"] = image }));
        Assert.Equal("frontend grpc server closed unexpectedly", error.Message);
        await HostProcesses.GoneAsync("sleep\03333");
    }

    [EndToEndFact]
    public async Task A_cancelled_build_ends_its_frontend()
    {
        var image = await PushScriptAsync("waits", "echo waiting >&2; sleep 4444");
        await using (var build = await StartAsync())
        {
            var running = build.RunFrontendAsync("gateway.v0", new Dictionary<string, string>(StringComparer.Ordinal) { ["source"] = image });
            while (HostProcesses.With("sleep\04444").Count == 0 && !running.IsCompleted)
                await Task.Delay(50);
            Assert.False(running.IsCompleted);
        }
        await HostProcesses.GoneAsync("sleep\04444");
    }

    [EndToEndFact]
    public async Task What_an_image_does_not_offer_is_refused_before_it_runs()
    {
        var image = await PushScriptAsync("limited", "exit 9", "\"moby.buildkit.frontend.caps\":\"moby.buildkit.frontend.subrequests+forward,other\"");
        await using var build = await StartAsync();
        var error = await Assert.ThrowsAsync<RpcException>(() => build.RunFrontendAsync(
            "gateway.v0", new Dictionary<string, string>(StringComparer.Ordinal) { ["source"] = image, ["frontend.caps"] = "moby.buildkit.frontend.subrequests,moby.foo+forward" }));
        Assert.Equal((StatusCode.Unimplemented, "unsupported frontend capability moby.foo"), (error.Code, error.Message));
        Assert.Equal("moby.foo", Assert.Single(TypedErrors.Of<FrontendCap>(error.Details)).Name);
        var request = new SolveRequest { Frontend = "gateway.v0", AllowResultReturn = true, FrontendOpt = { ["source"] = image } };
        request.FrontendInputs["context"] = await State.Scratch.File(Files.Mkfile("/a", 0x1A4, "x"u8.ToArray())).MarshalAsync(new MarshalOptions(), build.Token);
        error = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.Solve, request));
        Assert.Equal("unsupported frontend capability moby.buildkit.frontend.inputs", error.Message);
    }

    [EndToEndFact]
    public async Task A_missing_image_shows_the_syntax_line()
    {
        using var context = new ContextDirectory($"# syntax={fixture.Build.Registry.Host}/none:1\nFROM scratch\n");
        var errors = (await Client.BuildPlainAsync(context)).Failed().Errors;
        Assert.Contains($"   1 | >>> # syntax={fixture.Build.Registry.Host}/none:1\n", errors, StringComparison.Ordinal);
        Assert.Contains($"error: failed to solve: failed to resolve source metadata for {fixture.Build.Registry.Host}/none:1: ", errors, StringComparison.Ordinal);
        var noSource = (await Client.RunAsync(["build", "--frontend", "gateway.v0"])).Failed();
        Assert.EndsWith("error: failed to solve: no source specified for gateway\n", noSource.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task The_configuration_decides_which_images_may_run()
    {
        var host = fixture.Build.Registry.Host;
        var image = await PushScriptAsync("allowed", "exit 6");
        await using var daemon = await DaemonProcess.StartAsync(configuration: $"[frontend.\"gateway.v0\"]\nallowedRepositories = [\"{host}/allowed\"]\nsubstituteDockerfile = false\n[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n");
        var client = new Buildctl(daemon.Address);
        Assert.EndsWith("error: failed to solve: exit code: 6\n", (await client.RunAsync(["build", "--frontend", "gateway.v0", "--opt", $"source={image}"])).Failed().Errors, StringComparison.Ordinal);
        Assert.EndsWith($"error: failed to solve: '{host}/other:1' is not an allowed gateway source\n", (await client.RunAsync(["build", "--frontend", "gateway.v0", "--opt", $"source={host}/other:1"])).Failed().Errors, StringComparison.Ordinal);
        Assert.EndsWith("error: failed to solve: 'docker/dockerfile:1' is not an allowed gateway source\n", (await client.RunAsync(["build", "--frontend", "gateway.v0", "--opt", "source=docker/dockerfile:1"])).Failed().Errors, StringComparison.Ordinal);

        await using var none = await DaemonProcess.StartAsync(configuration: "[frontend.\"gateway.v0\"]\nenabled = false\n");
        Assert.EndsWith("error: failed to solve: invalid frontend: gateway.v0\n", (await new Buildctl(none.Address).RunAsync(["build", "--frontend", "gateway.v0", "--opt", $"source={image}"])).Failed().Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_development_frontend_is_built_before_it_runs()
    {
        using var context = new ContextDirectory($"FROM {Base}\nCOPY file /file\nENTRYPOINT [\"/bin/sh\", \"-c\", \"exit 8\"]\n").Write("file", "content");
        var failed = (await Client.RunAsync(
            ["build", "--frontend", "gateway.v0", "--opt", "source=dockerfile.v0", "--opt", "gateway-devel=", "--local", "context=" + context.Path, "--local", "dockerfile=" + context.Path])).Failed();
        Assert.EndsWith("error: failed to solve: exit code: 8\n", failed.Errors, StringComparison.Ordinal);
    }
}
