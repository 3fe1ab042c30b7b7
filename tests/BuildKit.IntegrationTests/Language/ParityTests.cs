using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>The same Dockerfile, built here and by the Docker daemon of this machine, gives the same files and the same configuration.</summary>
public sealed partial class ParityTests(ParityFixture fixture) : IClassFixture<ParityFixture>
{
    public static TheoryData<string> Names() => [.. ParityCases.Classic.Select(c => c.Name)];

    [ParityTheory]
    [MemberData(nameof(Names))]
    public async Task The_image_holds_what_docker_builds(string name)
    {
        var build = ParityCases.Classic.Single(c => c.Name == name);
        var docker = fixture.BuildDockerAsync(build.Dockerfile, build.Arguments);
        var ours = await fixture.BuildAsync(build.Dockerfile, build.Arguments);
        AssertLines(Compared(await docker, build), Compared(ours, build));
    }

    /// <summary>Fails with the lines that only one side has.</summary>
    internal static void AssertLines(string expected, string actual)
    {
        if (expected == actual)
            return;
        var (wanted, found) = (expected.Split('\n'), actual.Split('\n'));
        var text = wanted.Except(found).Select(line => "- " + line).Concat(found.Except(wanted).Select(line => "+ " + line));
        Assert.Fail($"expected (-), found (+):\n{string.Join('\n', text)}");
    }

    /// <summary>Parts of history texts that an older Docker leaves out: flags of a copy, values of arguments, the interval after the start.</summary>
    [GeneratedRegex("""( --ch(own|mod)=[^ ]*)|((?<=^ARG [^ =]*)=.*)|((?<=^RUN )\|\d+ .*? (?=/bin/sh))|((?<=^HEALTHCHECK .*\] "\w+" "\w+" "\w+" )"\w+" )""", RegexOptions.Singleline | RegexOptions.ExplicitCapture)]
    private static partial Regex AnOlderDockerTellsLess();

    private static string Compared(DockerArchive image, ParityCase build)
    {
        var history = image.Config["history"]!.AsArray();
        // What the exporter adds for layers of a base image without history.
        foreach (var added in history.Where(h => h!["comment"]?.GetValue<string>() == "buildkit.exporter.image.v0").ToArray())
            history.Remove(added);
        foreach (var entry in history.OfType<JsonObject>())
            entry["created_by"] = AnOlderDockerTellsLess().Replace(entry["created_by"]!.GetValue<string>(), "");
        return image.Unpacked([.. build.Differs.Keys]);
    }
}

/// <summary>A Docker daemon beside ours.</summary>
public sealed class ParityFixture : LanguageFixture
{
    private DockerDaemon? _docker;
    private int _images;

    /// <summary>Builds on dockerd.</summary>
    public async Task<DockerArchive> BuildDockerAsync(string dockerfile, params string[] arguments)
    {
        using var temp = Folder(dockerfile);
        var name = $"parity:{Interlocked.Increment(ref _images)}";
        var client = new Buildctl(_docker!.Address);
        // Steps get the host's network: dockerd's own would need its bridge.
        (await client.RunAsync(Arguments(temp, [.. arguments, "--allow", "network.host", "--opt", "force-network-mode=host", "--output", $"type=moby,name={name}"]), more: Secret)).Succeeded();
        await _docker.SaveAsync(name, temp["image.tar"]);
        return await DockerArchive.ReadAsync(temp["image.tar"]);
    }

    public override async Task InitializeAsync()
    {
        if (Requirement.Missing([.. Needs, .. DockerDaemon.Needs]) is not null)
            return; // every test of the class is skipped for the same reason
        await base.InitializeAsync();
        _docker = await DockerDaemon.StartAsync();
    }

    public override async Task DisposeAsync()
    {
        if (_docker is not null)
            await _docker.DisposeAsync();
        await base.DisposeAsync();
    }
}

/// <summary>A theory for which a Docker daemon is needed.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ParityTheoryAttribute : TheoryAttribute
{
    public ParityTheoryAttribute() => Skip = Requirement.Missing([.. LanguageFixture.Needs, .. DockerDaemon.Needs]);
}
