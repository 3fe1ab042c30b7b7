using BuildKit.Oci;

namespace BuildKit.Tests.Oci;

public sealed class PlatformTests
{
    [Theory]
    [InlineData("linux/amd64", "linux/amd64")]
    [InlineData("linux/amd64/v1", "linux/amd64")]
    [InlineData("linux/amd64/v2", "linux/amd64/v2")]
    [InlineData("linux/arm64/v8", "linux/arm64")]
    [InlineData("linux/arm64/9.0", "linux/arm64/v9")]
    [InlineData("linux/arm", "linux/arm/v7")]
    [InlineData("linux/arm/6", "linux/arm/v6")]
    [InlineData("linux/armhf", "linux/arm/v7")]
    [InlineData("linux/armel", "linux/arm/v6")]
    [InlineData("linux/i386", "linux/386")]
    [InlineData("LINUX/AARCH64", "linux/arm64")]
    [InlineData("macos/x86-64", "darwin/amd64")]
    [InlineData("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64")]
    public void Normalisation_follows_the_table(string specifier, string expected) =>
        Assert.Equal(expected, Platform.Parse(specifier).Normalize().FormatAll());

    [Fact]
    public void An_explicit_default_variant_of_arm64_survives_parsing()
    {
        Assert.Equal("v8", Platform.Parse("linux/arm64/v8").Variant);
        Assert.Equal("", Platform.Parse("linux/arm64").Variant);
        Assert.Equal("", Platform.Parse("linux/arm").Variant);
    }

    [Theory]
    [InlineData("bad/x/y/z", "\"bad/x/y/z\": cannot parse platform specifier: invalid argument")]
    [InlineData("linux/*", "\"linux/*\": wildcards not yet supported: invalid argument")]
    [InlineData("nonsense", "\"nonsense\": unknown operating system or architecture: invalid argument")]
    [InlineData("linux/a b", "\"a b\" is an invalid component of \"linux/a b\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument")]
    [InlineData("a b", "\"a b\" is an invalid OS component of \"a b\": OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument")]
    public void What_is_no_platform_is_refused_in_the_words_of_the_reference(string specifier, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => Platform.Parse(specifier)).Message);

    [Theory]
    [InlineData("linux/amd64", "linux/amd64 linux/386")]
    [InlineData("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386")]
    [InlineData("linux/arm/v7", "linux/arm/v7 linux/arm/v6 linux/arm/v5")]
    [InlineData("linux/arm64", "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5")]
    [InlineData("linux/arm64/v8.1", "linux/arm64/v8.1 linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5")]
    [InlineData("linux/s390x", "linux/s390x")]
    public void The_vector_of_a_platform_lists_what_it_can_run_best_first(string platform, string expected) =>
        Assert.Equal(expected, string.Join(' ', PlatformMatcher.Only(Platform.Parse(platform)).Accepted.Select(accepted => accepted.Format())));

    [Fact]
    public void The_best_entry_of_an_index_is_chosen_and_entries_without_platform_come_last()
    {
        Descriptor Entry(string? platform, int size) => new(MediaTypes.OciManifest, default, size) { Platform = platform is null ? null : Platform.Parse(platform) };
        Descriptor[] index = [Entry(null, 1), Entry("linux/386", 2), Entry("linux/amd64", 3), Entry("linux/amd64", 4)];
        Assert.Equal(3, PlatformMatcher.Only(Platform.Parse("linux/amd64")).Select(index)!.Size);
        Assert.Equal(2, PlatformMatcher.Only(Platform.Parse("linux/386")).Select(index)!.Size);
        Assert.Equal(1, PlatformMatcher.Only(Platform.Parse("linux/s390x")).Select(index)!.Size);
        Assert.Null(PlatformMatcher.Only(Platform.Parse("linux/s390x")).Select(index[1..]));
    }

    [Fact]
    public void Platforms_with_the_same_features_are_equal()
    {
        var first = new Platform("windows", "amd64") { OsFeatures = ["win32k"] };
        Assert.Equal(first, new Platform("windows", "amd64") { OsFeatures = ["win32k"] });
        Assert.Equal(first.GetHashCode(), new Platform("windows", "amd64") { OsFeatures = ["win32k"] }.GetHashCode());
        Assert.NotEqual(first, new Platform("windows", "amd64"));
    }
}
