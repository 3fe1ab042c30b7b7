using BuildKit.Llb;
using BuildKit.Protocol.ApiCaps;

namespace BuildKit.Tests.Llb;

public sealed class CapabilityTests
{
    [Fact]
    public void The_published_lists_are_complete_sorted_and_enabled()
    {
        Assert.Equal(70, LlbCaps.All.Items.Count);
        Assert.Equal(24, GatewayCaps.All.Items.Count);
        foreach (var list in new[] { LlbCaps.All, GatewayCaps.All })
        {
            var ids = list.Published().Select(capability => capability.ID).ToArray();
            Assert.Equal(ids.Order(StringComparer.Ordinal), ids);
            Assert.All(list.Published(), capability => Assert.True(capability.Enabled));
        }

        Assert.Equal(["solve.inlinereturn"], GatewayCaps.All.Published().Where(capability => capability.Deprecated).Select(capability => capability.ID));
        Assert.Equal("soruce.http.uidgid", LlbCaps.All.Items[45 - 1].Id);
    }

    [Fact]
    public void Missing_capabilities_are_explained_in_known_words()
    {
        var set = LlbCaps.All.SupportedBy(
        [
            new APICap { ID = "mergeop", Enabled = true },
            new APICap { ID = "diffop", DisabledReasonMsg = "no overlay" },
        ]);
        Assert.True(set.Supports("mergeop"));
        Assert.Null(set.Explain("mergeop"));
        Assert.Equal("unknown API capability foo.bar", set.Explain("foo.bar"));
        Assert.Equal("requested experimental feature platform  is not supported by build server, please update docker", set.Explain("platform", "docker"));
        Assert.Equal("requested prerelease feature file.base  is not supported by build server (added in BuildKit v0.5.0), please update buildkit", set.Explain("file.base", "buildkit"));
        Assert.Equal("requested experimental feature diffop  has been disabled on the build server: no overlay", set.Explain("diffop"));
        Assert.False(set.Supports("diffop"));
        Assert.True(set.Contains("diffop"));
    }

    [Fact]
    public void What_the_oldest_daemons_know_is_known_here() =>
        Assert.All(LlbCaps.Oldest, id => Assert.NotNull(LlbCaps.All.Find(id)));
}
