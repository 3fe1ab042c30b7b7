using BuildKit.IntegrationTests.EndToEnd;

namespace BuildKit.IntegrationTests.Language;

/// <summary>
/// Every instruction with its flags, built and compared with what moby/buildkit v0.20.0 made of the same input: each layer entry by
/// entry (golden set <c>images</c>) and the image's configuration.
/// </summary>
/// <remarks>To record anew, let <c>BUILDKIT_TEST_BIN</c> name a folder with the reference's programs and set <c>BUILDKIT_RECORD</c>.</remarks>
public sealed class ImageGoldenTests(LanguageFixture fixture) : IClassFixture<LanguageFixture>
{
    public static TheoryData<string> Names() => [.. ParityCases.All.Select(c => c.Name)];

    [EndToEndTheory("bzip2", "xz", "zstd")]
    [MemberData(nameof(Names))]
    public async Task The_image_is_what_the_reference_builds(string name)
    {
        var build = ParityCases.All.Single(c => c.Name == name);
        var image = (await fixture.BuildAsync(build.Dockerfile, build.Arguments)).ToString();
        var golden = Golden.Path("images", name + ".txt");
        if (Environment.GetEnvironmentVariable("BUILDKIT_RECORD") is not null)
            await File.WriteAllTextAsync(golden, image);
        ParityTests.AssertLines(await File.ReadAllTextAsync(golden), image);
    }
}
