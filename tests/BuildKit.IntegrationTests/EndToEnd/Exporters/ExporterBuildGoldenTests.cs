using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd.Exporters;

/// <summary>
/// The commands of the golden set <c>exporters</c> as whole builds: every document they leave has the bytes of the reference's, but
/// for what differs from build to build (<see cref="ExportedDocuments"/>).
/// </summary>
public sealed partial class ExporterBuildGoldenTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private const string RecordedRegistry = "127.0.0.1:5807";

    /// <summary>Vectors that are builds with files to compare.</summary>
    public static TheoryData<string> Builds() =>
    [
        .. Golden.Index("exporters", "vectors")
            .Where(v => v.GetProperty("files").EnumerateObject().Any() && Command(v) is { } command && !command.EndsWith(')'))
            .Select(v => v.GetProperty("dir").GetString()!),
    ];

    [EndToEndGoldenTheory]
    [MemberData(nameof(Builds))]
    public async Task A_build_exports_the_documents_of_the_reference(string directory)
    {
        var vector = Golden.Index("exporters", "vectors").Single(v => v.GetProperty("dir").GetString() == directory);
        var command = Command(vector)!.Replace(RecordedRegistry, fixture.Registry.Host, StringComparison.Ordinal);
        using var temp = new TempDirectory();
        var context = temp.Sub("ctx");
        if (command.Contains("attest:sbom", StringComparison.Ordinal))
            await ScannerImage.PushAsync(fixture.Registry);
        // Provenance lists every form of a layer that was ever exported.
        if (command.Contains("mode=max", StringComparison.Ordinal))
            await fixture.Client.PruneAllAsync();
        if (OnlyLine().Match(vector.GetProperty("command").GetString()!) is { Success: true } only)
            await File.WriteAllTextAsync(context + "/Dockerfile", only.Groups["dockerfile"].Value + "\n");
        else
            File.Copy(Golden.Path("exporters", "Dockerfile"), context + "/Dockerfile");
        CopyContext(context);
        if (!command.Contains("--metadata-file", StringComparison.Ordinal))
            command += " --metadata-file m.json";
        await RunAsync(temp, command);
        if (vector.GetProperty("command").GetString()!.Contains(AgainWithoutName, StringComparison.Ordinal))
            await RunAsync(temp, Name().Replace(command, ""));

        var produced = await ProducedAsync(temp, command);
        var recorded = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var file in vector.GetProperty("files").EnumerateObject().Where(f => !f.Name.EndsWith(".tar.gz", StringComparison.Ordinal)))
            recorded[file.Name] = await File.ReadAllBytesAsync(Golden.Path("exporters", directory, file.Name));
        Assert.Equal([], recorded.Keys.Except(produced.Keys));
        // Without rewritten times, layers hold the time of the build.
        var expected = new ExportedDocuments(recorded, isReproducible: command.Contains("rewrite-timestamp=true", StringComparison.Ordinal), RecordedRegistry);
        var actual = new ExportedDocuments(produced.Where(d => recorded.ContainsKey(d.Key)).ToDictionary(StringComparer.Ordinal), expected.IsReproducible, fixture.Registry.Host);
        foreach (var name in expected.Names)
            Assert.Equal(name + "\n" + expected.Comparable(name), name + "\n" + actual.Comparable(name));
    }

    /// <summary>The vector whose files are statements, told in words.</summary>
    public static TheoryData<string> Statements() =>
        [.. Golden.Index("exporters", "vectors").Select(v => v.GetProperty("dir").GetString()!).Where(directory => directory == "local-attestations")];

    [EndToEndGoldenTheory]
    [MemberData(nameof(Statements))]
    public async Task Attestations_beside_files_are_those_of_the_reference(string directory)
    {
        using var temp = new TempDirectory();
        File.Copy(Golden.Path("exporters", "Dockerfile"), temp.Sub("ctx") + "/Dockerfile");
        CopyContext(temp.Path + "/ctx");
        var command = Golden.Index("exporters", "vectors").Single(v => v.GetProperty("dir").GetString() == directory)
            .GetProperty("command").GetString()!.Split("  (")[0];
        await RunAsync(temp, command);
        var scanner = await ScannerImage.PushAsync(fixture.Registry);
        // The reference had exported the layers before, in one form.
        await fixture.Client.PruneAllAsync();
        await RunAsync(temp, command.Replace("--output type=local,dest=l", "--output type=oci,dest=o.tar", StringComparison.Ordinal));
        await RunAsync(temp, command.Replace("mode=min", "mode=max", StringComparison.Ordinal).Replace("dest=l", "dest=m", StringComparison.Ordinal) + $" --opt attest:sbom=generator={scanner},FOO=bar");
        Assert.Equal((UnixFileMode)0x180, File.GetUnixFileMode(temp.Path + "/l/provenance.json"));
        Assert.Equal(DateTime.UnixEpoch.AddSeconds(1700000000), File.GetLastWriteTimeUtc(temp.Path + "/l/provenance.json"));
        foreach (var (recorded, made) in new[] { ("local.json", "l/provenance.json"), ("local-max.json", "m/provenance.json"), ("sbom.json", "m/sbom.spdx.json") })
            Assert.Equal(Comparable(Golden.Path("exporters", directory, recorded), RecordedRegistry), Comparable($"{temp.Path}/{made}", fixture.Registry.Host));

        static string Comparable(string path, string registry) =>
            new ExportedDocuments(new Dictionary<string, byte[]>(StringComparer.Ordinal) { ["statement.json"] = File.ReadAllBytes(path) }, isReproducible: false, registry).Comparable("statement.json");
    }

    private static void CopyContext(string context)
    {
        File.Copy(Golden.Path("exporters", "hello.txt"), context + "/hello.txt");
        File.SetLastWriteTimeUtc(context + "/hello.txt", new DateTime(2024, 1, 2, 3, 4, 5, DateTimeKind.Utc));
    }

    private const string AgainWithoutName = ", then the same without name into the same directory";

    /// <summary>The command line of a vector, also where it is told in words; null when it is no build.</summary>
    private static string? Command(JsonElement vector)
    {
        var text = vector.GetProperty("command").GetString()!;
        if (OnlyLine().Match(text) is { Success: true } only)
            return "buildctl build --frontend dockerfile.v0 --local context=ctx --local dockerfile=ctx " + only.Groups["arguments"].Value;
        text = text.Replace(AgainWithoutName, "", StringComparison.Ordinal).TrimEnd();
        return text.StartsWith("buildctl build ", StringComparison.Ordinal) ? text : null;
    }

    private async Task RunAsync(TempDirectory temp, string command)
    {
        // No argument of the set holds a blank; quotes belong to the values.
        var arguments = command.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..];
        var environment = new Dictionary<string, string?>(StringComparer.Ordinal) { ["DOCKER_CONFIG"] = "/nonexistent", ["BUILDKIT_HOST"] = null, ["SOURCE_DATE_EPOCH"] = null };
        (await Programs.RunAsync(Programs.Buildctl, ["--addr", fixture.Daemon.Address, .. arguments], environment, workingDirectory: temp.Path)).Succeeded();
    }

    private static async Task<Dictionary<string, byte[]>> ProducedAsync(TempDirectory temp, string command)
    {
        var produced = new Dictionary<string, byte[]>(StringComparer.Ordinal) { ["metadata-file.json"] = await File.ReadAllBytesAsync(temp.Path + "/m.json") };
        var output = command.Split(' ').SkipWhile(a => a != "--output").ElementAt(1);
        var target = Destination().Match(output).Groups["name"].Value;
        if (target.Length == 0)
            await ExportedImage.ReadRegistryAsync(Reference().Match(output).Groups["name"].Value, produced);
        else if (Directory.Exists($"{temp.Path}/{target}"))
            await ExportedImage.ReadDirectoryAsync($"{temp.Path}/{target}", produced);
        else
            await ExportedImage.ReadTarAsync($"{temp.Path}/{target}", produced);
        return produced;
    }

    [GeneratedRegex("^same, Dockerfile is the single line (?<dockerfile>.+?); (?<arguments>.+)$")]
    private static partial Regex OnlyLine();

    [GeneratedRegex(",name=[^,\\s]+")]
    private static partial Regex Name();

    [GeneratedRegex("(^|,)dest=(?<name>[^,]+)")]
    private static partial Regex Destination();

    [GeneratedRegex("(^|,)name=(?<name>[^,]+)")]
    private static partial Regex Reference();
}
