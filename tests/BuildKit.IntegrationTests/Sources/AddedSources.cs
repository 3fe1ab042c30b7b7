using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Sources;

/// <summary>What a Dockerfile of one <c>ADD</c> from outside does: the source is asked, then its files are copied.</summary>
internal static class AddedSources
{
    /// <summary>The source was asked and its files were copied.</summary>
    public static void AssertAdded(this BuildResult build) => Assert.Equal(2, build.Trace.Executed.Count);

    /// <summary>The source was asked, and nothing else was done.</summary>
    public static void AssertReused(this BuildResult build)
    {
        Assert.Single(build.Trace.Executed);
        Assert.Single(build.Trace.Cached);
    }
}
