using BuildKit.Daemon.Configuration;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Daemon;

/// <summary>Amounts of disk and the default collection rules (spec 06 §5.1).</summary>
public sealed class SpaceTests
{
    private const long Gib = 1L << 30;
    private const long Gb = 1_000_000_000;

    [Theory]
    [InlineData("0", 0, 0)]
    [InlineData("1024", 1024, 0)]
    [InlineData("512MB", 512L << 20, 0)]
    [InlineData("512mb", 512L << 20, 0)]
    [InlineData("512M", 512L << 20, 0)]
    [InlineData("512MiB", 512L << 20, 0)]
    [InlineData("20GB", 20 * Gib, 0)]
    [InlineData("1.5g", 3 * Gib / 2, 0)]
    [InlineData("2k", 2048, 0)]
    [InlineData("1T", 1L << 40, 0)]
    [InlineData("1PB", 1L << 50, 0)]
    [InlineData("100b", 100, 0)]
    [InlineData("20%", 0, 20)]
    [InlineData("100%", 0, 100)]
    public void A_space_reads(string text, long bytes, int percent) => Assert.Equal(new DiskSpace(bytes, percent), DiskSpace.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("%")]
    [InlineData("101%")]
    [InlineData("-1%")]
    [InlineData("1.5%")]
    [InlineData("GB")]
    [InlineData("10XB")]
    [InlineData("-1GB")]
    [InlineData("1 2")]
    public void A_space_is_refused(string text) => Assert.Throws<FormatException>(() => DiskSpace.Parse(text));

    [Theory]
    [InlineData(252, 20, 51)]
    [InlineData(252, 10, 26)]
    [InlineData(252, 80, 202)]
    [InlineData(1, 1, 1)]
    [InlineData(100, 10, 11)]
    public void A_share_of_the_disk_is_rounded_up_to_whole_gigabytes(long gib, int percent, long gigabytes) =>
        Assert.Equal(gigabytes * Gb, new DiskSpace(0, percent).ToBytes(gib * Gib));

    [Fact]
    public void A_share_of_an_unknown_disk_is_two_gigabytes()
    {
        Assert.Equal(2 * Gb, new DiskSpace(0, 20).ToBytes(null));
        Assert.Equal(7, new DiskSpace(7, 0).ToBytes(null));
    }

    [Fact]
    public void The_default_rules_are_the_references()
    {
        var rules = GcDefaults.Rules(new OciWorkerSettings(), 252 * Gib);
        Assert.Collection(
            rules,
            rule =>
            {
                Assert.Equal(["type==source.local", "type==exec.cachemount", "type==source.git.checkout"], rule.Filters);
                Check(rule, all: false, 48, 0, 512_000_000, 0);
            },
            rule => Check(rule, all: false, 1440, 10 * Gb, 100 * Gb, 51 * Gb),
            rule => Check(rule, all: false, 0, 10 * Gb, 100 * Gb, 51 * Gb),
            rule => Check(rule, all: true, 0, 10 * Gb, 100 * Gb, 51 * Gb));
        Assert.All(rules.Skip(1), static rule => Assert.Empty(rule.Filters));
    }

    [Fact]
    public void Small_disks_keep_less() =>
        Check(GcDefaults.Rules(new OciWorkerSettings(), 50 * Gib)[3], all: true, 0, 6 * Gb, 41 * Gb, 11 * Gb);

    [Fact]
    public void One_configured_space_replaces_all_three()
    {
        var rules = GcDefaults.Rules(new OciWorkerSettings { ReservedSpace = new DiskSpace(5, 0) }, 252 * Gib);
        Check(rules[0], all: false, 48, 0, 512_000_000, 0);
        Check(rules[3], all: true, 0, 5, 0, 0);
    }

    [Fact]
    public void Configured_rules_replace_the_defaults()
    {
        var worker = new OciWorkerSettings
        {
            GcPolicy = [new GcRule(true, ["type==regular"], TimeSpan.FromHours(1), new DiskSpace(1, 0), new DiskSpace(0, 10), default)],
        };
        var rule = Assert.Single(GcDefaults.Rules(worker, 100 * Gib));
        Assert.Equal(["type==regular"], rule.Filters);
        Check(rule, all: true, 1, 1, 11 * Gb, 0);
    }

    [Fact]
    public void Collection_can_be_off() => Assert.Empty(GcDefaults.Rules(new OciWorkerSettings { Gc = false, GcPolicy = [] }, 100 * Gib));

    private static void Check(PruneOptions rule, bool all, int hours, long reserved, long maxUsed, long minFree) =>
        Assert.Equal(
            (all, TimeSpan.FromHours(hours), reserved, maxUsed, minFree),
            (rule.All, rule.KeepDuration, rule.ReservedSpace, rule.MaxUsedSpace, rule.MinFreeSpace));
}
