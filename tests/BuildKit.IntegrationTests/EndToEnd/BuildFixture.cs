using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>One daemon and one open registry with a base image, shared by the tests of a class.</summary>
public sealed class BuildFixture : IAsyncLifetime
{
    public DaemonProcess Daemon { get; private set; } = null!;

    public DockerRegistry Registry { get; private set; } = null!;

    public Buildctl Client { get; private set; } = null!;

    /// <summary>Name of the base image.</summary>
    public string Base => $"{Registry.Host}/base:latest";

    /// <summary>Digest of the base image's only layer.</summary>
    public Digest BaseLayer { get; private set; }

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(Needs) is not null)
            return; // every test of the class is skipped for the same reason
        Registry = await DockerRegistry.StartAsync();
        BaseLayer = await BaseImage.PushAsync(Registry);
        Daemon = await DaemonProcess.StartAsync();
        Client = new Buildctl(Daemon.Address);
    }

    public async Task DisposeAsync()
    {
        if (Daemon is not null)
            await Daemon.DisposeAsync();
        if (Registry is not null)
            await Registry.DisposeAsync();
    }

    /// <summary>What every test from outside needs.</summary>
    internal static readonly string[] Needs = ["root", "buildkitd", "buildctl", "docker-registry", "busybox", "runc"];
}

/// <summary>A test that drives the programs from outside; <see cref="BuildFixture.Needs"/> and more.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class EndToEndFactAttribute : FactAttribute
{
    public EndToEndFactAttribute(params string[] more) => Skip = Requirement.Missing([.. BuildFixture.Needs, .. more]);
}

/// <summary>As <see cref="EndToEndFactAttribute"/>, for theories.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class EndToEndTheoryAttribute : TheoryAttribute
{
    public EndToEndTheoryAttribute(params string[] more) => Skip = Requirement.Missing([.. BuildFixture.Needs, .. more]);
}

/// <summary>As <see cref="EndToEndFactAttribute"/>, for the cases of a golden set.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class EndToEndGoldenTheoryAttribute : GoldenTheoryAttribute
{
    public EndToEndGoldenTheoryAttribute(params string[] more) => Skip = Requirement.Missing([.. BuildFixture.Needs, .. more]);
}
