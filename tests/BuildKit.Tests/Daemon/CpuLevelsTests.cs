using BuildKit.Daemon.Hosting;

namespace BuildKit.Tests.Daemon;

public sealed class CpuLevelsTests
{
    private const string Second = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
    private const string Third = "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave";
    private const string Fourth = "avx512f avx512bw avx512cd avx512dq avx512vl";

    [Theory]
    [InlineData("fpu sse sse2", "")]
    [InlineData(Second, "v2")]
    [InlineData(Second + " " + Third, "v2 v3")]
    [InlineData(Second + " " + Third + " " + Fourth, "v2 v3 v4")]
    [InlineData(Third + " " + Fourth, "")]
    [InlineData(Second + " avx avx2 bmi1 bmi2 f16c fma abm movbe " + Fourth, "v2")]
    public void A_level_counts_when_all_its_features_and_those_below_are_there(string flags, string levels) =>
        Assert.Equal(levels, string.Join(' ', CpuLevels.Of(["processor\t: 0", "flags\t\t: fpu " + flags, "", "processor\t: 1", "flags\t\t: fpu"])));

    [Fact]
    public void A_cpu_without_flags_has_no_level() => Assert.Empty(CpuLevels.Of(["processor\t: 0", "Features\t: fp asimd"]));
}
