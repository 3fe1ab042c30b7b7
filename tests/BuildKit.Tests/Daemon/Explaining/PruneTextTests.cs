using BuildKit.Daemon.Explaining;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Daemon.Explaining;

public sealed class PruneTextTests
{
    public static TheoryData<PruneOptions?, int, string> Policies => new()
    {
        { null, 0, "buildctl prune" },
        { new PruneOptions([], false, TimeSpan.Zero, 0, 0, 0), 0, "buildctl prune" },
        { new PruneOptions([], true, TimeSpan.Zero, 0, 0, 0), 0, "buildctl prune (all)" },
        { new PruneOptions(["type==regular"], false, TimeSpan.FromHours(48), 0, 0, 0), 0, "buildctl prune (unused for 48h, filter type==regular)" },
        { new PruneOptions(["type==source.local"], false, TimeSpan.FromHours(48), 0, 512_000_000, 0), 1, "garbage collection, rule 1 (unused for 48h, max used space 512MB, filter type==source.local)" },
        { new PruneOptions([], true, TimeSpan.FromSeconds(90), 10_000_000_000, 0, 1_500_000_000), 4, "garbage collection, rule 4 (unused for 90s, reserved space 10GB, min free space 1.5GB)" },
    };

    [Theory]
    [MemberData(nameof(Policies))]
    public void What_pruned_a_result_is_named(PruneOptions? policy, int rule, string expected) => Assert.Equal(expected, PruneText.Of(policy, rule));
}
