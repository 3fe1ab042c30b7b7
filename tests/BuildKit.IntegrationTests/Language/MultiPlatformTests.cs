using System.Formats.Tar;
using System.Text.Json;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>One Dockerfile for two CPUs; the steps of the foreign one run through the kernel's binfmt_misc and qemu.</summary>
public sealed class MultiPlatformTests(MultiPlatformFixture fixture) : IClassFixture<MultiPlatformFixture>
{
    private const string Dockerfile = """
        FROM --platform=$BUILDPLATFORM @BASE@ AS build
        ARG BUILDPLATFORM
        ARG TARGETPLATFORM
        ARG TARGETARCH
        RUN echo "$(uname -m) $BUILDPLATFORM $TARGETPLATFORM $TARGETARCH" > /built
        FROM --platform=$BUILDPLATFORM @BASE@ AS shared
        RUN echo once > /shared
        FROM @BASE@
        COPY --from=build /built /
        COPY --from=shared /shared /
        RUN uname -m > /machine
        """;

    [MultiPlatformFact]
    public async Task The_daemon_offers_what_the_kernel_can_run()
    {
        var workers = (await fixture.Client.RunAsync(["debug", "workers"])).Succeeded();
        Assert.Contains("linux/arm64", workers.Text, StringComparison.Ordinal);
        Assert.Contains("linux/amd64", workers.Text, StringComparison.Ordinal);
    }

    [MultiPlatformFact]
    public async Task Steps_run_for_each_platform_and_stages_of_the_build_platform_once()
    {
        using var context = fixture.Context(Dockerfile);
        using var output = new TempDirectory();
        var build = (await fixture.Client.BuildAsync(context, "--opt", "platform=linux/amd64,linux/arm64", "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal("x86_64 linux/amd64 linux/amd64 amd64\n", await File.ReadAllTextAsync($"{output.Path}/o/linux_amd64/built"));
        Assert.Equal("x86_64 linux/amd64 linux/arm64 arm64\n", await File.ReadAllTextAsync($"{output.Path}/o/linux_arm64/built"));
        Assert.Equal("x86_64\n", await File.ReadAllTextAsync($"{output.Path}/o/linux_amd64/machine"));
        Assert.Equal("aarch64\n", await File.ReadAllTextAsync($"{output.Path}/o/linux_arm64/machine"));
        Assert.Single(build.Trace.Vertices, step => step.Name.Contains("RUN echo once", StringComparison.Ordinal));
        Assert.Contains(build.Trace.Vertices, step => step.Name.StartsWith("[linux/amd64->arm64 build ", StringComparison.Ordinal));
        Assert.Contains(build.Trace.Vertices, step => step.Name.StartsWith("[linux/arm64 stage-2 ", StringComparison.Ordinal));
        foreach (var platform in new[] { "linux_amd64", "linux_arm64" })
        {
            var run = (await Programs.RunAsync($"{output.Path}/o/{platform}/bin/busybox", ["echo", "runs"])).Succeeded();
            Assert.Equal("runs\n", run.Text);
        }
    }

    [MultiPlatformFact("skopeo")]
    public async Task The_image_is_an_index_of_both()
    {
        using var context = fixture.Context(Dockerfile);
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--opt", "platform=linux/amd64,linux/arm64", "--output", $"type=oci,dest={output.Path}/o.tar,name=example.com/multi:1")).Succeeded();
        using var index = JsonDocument.Parse((await Programs.RunAsync("skopeo", ["inspect", "--raw", $"oci-archive:{output.Path}/o.tar"])).Succeeded().Output);
        Assert.Equal("application/vnd.oci.image.index.v1+json", index.RootElement.GetProperty("mediaType").GetString());
        Assert.Equal(["linux/amd64", "linux/arm64"], index.RootElement.GetProperty("manifests").EnumerateArray().Select(m => m.GetProperty("platform")).Select(p => $"{p.GetProperty("os").GetString()}/{p.GetProperty("architecture").GetString()}"));
        foreach (var (architecture, machine) in new[] { ("amd64", "x86_64"), ("arm64", "aarch64") })
        {
            (await Programs.RunAsync("skopeo", ["--override-arch", architecture, "copy", "-q", "--insecure-policy", $"oci-archive:{output.Path}/o.tar", $"docker-archive:{output.Path}/{architecture}.tar:x:1"])).Succeeded();
            var image = await DockerArchive.ReadAsync($"{output.Path}/{architecture}.tar");
            Assert.Equal(architecture, image.Config["architecture"]!.GetValue<string>());
            Assert.Contains($"/machine 0 644 0:0 \"{machine}\\n\"", image.ToString(), StringComparison.Ordinal);
        }
    }

    [MultiPlatformFact]
    public async Task A_platform_that_nothing_runs_is_told_by_its_first_step()
    {
        // The head of a program for s390x (big-endian ELF, machine 22).
        byte[] program = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 2, 1, 0, .. new byte[8], 0, 2, 0, 22, .. new byte[44]];
        using var context = fixture.Context("FROM scratch\nCOPY --chmod=755 program /bin/sh\nRUN true\n");
        context.Write("program", program);
        var failed = (await fixture.Client.BuildPlainAsync(context, "--opt", "platform=linux/s390x")).Failed();
        Assert.Contains("xec format error", failed.Errors, StringComparison.Ordinal);
        Assert.Contains("process \"/bin/sh -c true\" did not complete successfully", failed.Errors, StringComparison.Ordinal);
    }

    [MultiPlatformFact]
    public async Task One_foreign_platform_gives_a_plain_image_of_it()
    {
        using var context = fixture.Context("FROM @BASE@\nARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM $(uname -m) > /out\n");
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--opt", "platform=linux/arm64", "--output", $"type=docker,dest={output.Path}/d.tar,name=example.com/one:1")).Succeeded();
        var image = await DockerArchive.ReadAsync($"{output.Path}/d.tar");
        Assert.Equal("arm64", image.Config["architecture"]!.GetValue<string>());
        Assert.Contains("/out 0 644 0:0 \"linux/arm64 aarch64\\n\"", image.ToString(), StringComparison.Ordinal);
    }
}

/// <summary>A daemon that found qemu in the kernel, and a base image for both platforms.</summary>
public sealed class MultiPlatformFixture : IAsyncLifetime
{
    private BinfmtHandler? _handler;
    private DockerRegistry? _registry;
    private DaemonProcess? _daemon;

    /// <summary>The foreign program, fetched by <c>build/foreign.sh</c>.</summary>
    internal static string ForeignProgram { get; } = Path.GetFullPath(Path.Combine(Golden.Root, "..", "..", "artifacts", "foreign", "arm64", "busybox"));

    public Buildctl Client { get; private set; } = null!;

    /// <summary>A context with the programs; <c>@BASE@</c> of the Dockerfile is the base image.</summary>
    public ContextDirectory Context(string dockerfile)
    {
        var context = new ContextDirectory(dockerfile.Replace("@BASE@", $"{_registry!.Host}/multi:latest", StringComparison.Ordinal));
        File.Copy(ForeignProgram, context["busybox-arm64"]);
        return context;
    }

    public async Task InitializeAsync()
    {
        if (MultiPlatformFactAttribute.Missing() is not null)
            return; // every test of the class is skipped for the same reason
        _handler = new BinfmtHandler();
        _registry = await DockerRegistry.StartAsync();
        _daemon = await DaemonProcess.StartAsync();
        Client = new Buildctl(_daemon.Address);
        using var context = Context("FROM scratch\nARG TARGETARCH\nADD root-$TARGETARCH.tar /\n");
        foreach (var (architecture, program) in new[] { ("amd64", "/bin/busybox"), ("arm64", ForeignProgram) })
            context.Write($"root-{architecture}.tar", Root(await File.ReadAllBytesAsync(program)));
        (await Client.BuildAsync(context, "--opt", "platform=linux/amd64,linux/arm64", "--output", $"type=image,name={_registry.Host}/multi:latest,push=true")).Succeeded();
    }

    public async Task DisposeAsync()
    {
        if (_daemon is not null)
            await _daemon.DisposeAsync();
        if (_registry is not null)
            await _registry.DisposeAsync();
        _handler?.Dispose();
    }

    private static byte[] Root(byte[] program)
    {
        using var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            writer.WriteEntry(new PaxTarEntry(TarEntryType.Directory, "bin/") { Mode = (UnixFileMode)0x1ED });
            writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, "bin/busybox") { Mode = (UnixFileMode)0x1ED, DataStream = new MemoryStream(program) });
            foreach (var applet in new[] { "sh", "uname", "echo", "cat", "true" })
                writer.WriteEntry(new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + applet) { LinkName = "busybox" });
        }
        return tar.ToArray();
    }
}

/// <summary>A test that needs qemu and a program for the other CPU.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class MultiPlatformFactAttribute : FactAttribute
{
    public MultiPlatformFactAttribute(params string[] more) => Skip = Missing(more);

    internal static string? Missing(params string[] more) =>
        Requirement.Missing([.. BuildFixture.Needs, "qemu-aarch64-static", "mount", .. more])
        ?? (System.Runtime.InteropServices.RuntimeInformation.OSArchitecture != System.Runtime.InteropServices.Architecture.X64 ? "is written for an x86-64 machine"
            : File.Exists(MultiPlatformFixture.ForeignProgram) ? null : "artifacts/foreign/arm64/busybox is missing; run build/foreign.sh");
}
