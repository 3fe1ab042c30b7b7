using System.Text;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Llb;

namespace BuildKit.Tests.Dockerfile;

/// <summary>Behaviour seen by running the reference beside this frontend on many Dockerfiles.</summary>
public sealed class SharedHistoryTests
{
    [Fact]
    public async Task Two_stages_on_the_same_one_share_the_next_history_entry()
    {
        const string dockerfile = "FROM alpine:3.20 AS a\nRUN x\nFROM a AS b\nENV Q=1\nFROM a AS c\nRUN y\nFROM b\nCOPY --from=c /x /x\n";
        var config = await ConfigOfAsync(dockerfile);
        Assert.Contains("\"created_by\":\"RUN /bin/sh -c y # buildkit\"", config, StringComparison.Ordinal);
        Assert.DoesNotContain("\"created_by\":\"ENV Q=1\"", config, StringComparison.Ordinal);
        Assert.Contains("\"Q=1\"", config, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("git://h/r`e(p)o.git#main", "git://h/r%60e%28p%29o.git")]
    [InlineData("git://h/r(e)po.git", "git://h/r(e)po.git")]
    [InlineData("github.com/a/b!c", "github.com/a/b%21c")]
    public void Git_addresses_are_escaped_only_where_they_must(string text, string remote) =>
        Assert.Equal(remote, GitReference.Parse(text)!.Remote);

    private static async Task<string> ConfigOfAsync(string dockerfile)
    {
        var folder = Directory.CreateTempSubdirectory("dockerfile-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "Dockerfile"), dockerfile);
            var options = new FrontendBuildOptions
            {
                Opts = new Dictionary<string, string>(StringComparer.Ordinal),
                SessionId = "session",
                WorkerPlatforms = [new("linux", "amd64")],
                LlbCaps = LlbCaps.All.Everything(),
                GatewayCaps = GatewayCaps.All.Everything(),
            };
            var result = await new DockerfileFrontend().BuildAsync(new RecordingClient(options, _ => folder.FullName), CancellationToken.None);
            return Encoding.UTF8.GetString(result.Metadata["containerimage.config"]);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
