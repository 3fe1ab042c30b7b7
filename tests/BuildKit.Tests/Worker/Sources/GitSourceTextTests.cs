using BuildKit.Protocol.Pb;
using BuildKit.Worker.Sources;
using BuildKit.Worker.Sources.Git;

namespace BuildKit.Tests.Worker.Sources;

public sealed class GitSourceTextTests
{
    private const string A = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    private const string B = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    private const string C = "cccccccccccccccccccccccccccccccccccccccc";

    [Theory]
    [InlineData("https://u:p@h/x.git", "https://xxxxx:xxxxx@h/x.git")]
    [InlineData("ssh://git@h:22/x", "ssh://xxxxx@h:22/x")]
    [InlineData("https://:p@h", "https://:xxxxx@h")]
    [InlineData("https://h/a@b", "https://h/a@b")]
    [InlineData("git@h:x", "git@h:x")]
    [InlineData("https://h", "https://h")]
    public void Credentials_of_an_address_are_never_shown(string url, string shown) => Assert.Equal(shown, RedactedUrl.Of(url));

    [Theory]
    [InlineData("git://h/p", "", "https://h/p", "", "")]
    [InlineData("git://h/p#v1:sub/x", "https://u@h/q.git", "https://u@h/q.git", "v1", "sub/x")]
    [InlineData("git://h/p#v1:/", "git@h:p", "git@h:p", "v1", "")]
    [InlineData("git://h/p#:sub", "h/p", "https://h/p", "", "sub")]
    public void An_identifier_and_its_attributes_name_remote_reference_and_subdirectory(string identifier, string fullUrl, string url, string reference, string subdirectory)
    {
        var operation = new SourceOp { Identifier = identifier };
        if (fullUrl.Length > 0)
            operation.Attrs["git.fullurl"] = fullUrl;
        var source = GitAttributes.Parse(operation);
        Assert.Equal((url, reference, subdirectory, false), (source.Url, source.Ref, source.Subdirectory, source.KeepGitDir));
    }

    [Theory]
    [InlineData("file:///etc", "https://file:///etc")]
    [InlineData("/etc/passwd", "https:///etc/passwd")]
    [InlineData("ext::sh -c id", "https://ext::sh -c id")]
    public void Only_network_transports_reach_git(string fullUrl, string taken)
    {
        var operation = new SourceOp { Identifier = "git://h/p", Attrs = { ["git.fullurl"] = fullUrl } };
        try
        {
            Assert.Equal(taken, GitAttributes.Parse(operation).Url);
        }
        catch (InvalidOperationException refused)
        {
            Assert.StartsWith("invalid git ", refused.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("ssh://-oProxyCommand=id/x")]
    [InlineData("ssh://-u@h/x")]
    public void An_address_that_looks_like_an_option_is_refused(string fullUrl)
    {
        var operation = new SourceOp { Identifier = "git://h/p", Attrs = { ["git.fullurl"] = fullUrl } };
        Assert.Throws<InvalidOperationException>(() => GitAttributes.Parse(operation));
    }

    [Theory]
    [InlineData("main", $"{A}\trefs/heads/main\n{B}\trefs/tags/main\n", A, A, "refs/heads/main")]
    [InlineData("v1", $"{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n", B, A, "refs/tags/v1")]
    [InlineData("refs/tags/v1", $"{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n", B, A, "refs/tags/v1")]
    [InlineData("heads/x", $"{A}\trefs/heads/heads/x\n{C}\trefs/heads/x\n", C, C, "refs/heads/x")]
    [InlineData("pull/1/head", $"{A}\trefs/heads/a/pull/1/head\n{C}\trefs/pull/1/head\n", C, C, "refs/pull/1/head")]
    [InlineData("tags/v1", $"{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n", A, A, "refs/tags/v1")]
    public void A_reference_is_an_exact_name_a_branch_or_a_tag(string reference, string output, string commit, string named, string fullName) =>
        Assert.Equal(new GitTarget(commit, named, fullName), GitRefs.Choose(reference, output));

    [Fact]
    public void A_reference_that_is_not_there_is_told_with_what_is()
    {
        var error = Assert.Throws<InvalidOperationException>(() => GitRefs.Choose("nope", $"{A}\trefs/heads/other/nope\n"));
        Assert.Equal($"repository does not contain ref nope, output: \"{A}\\trefs/heads/other/nope\\n\"", error.Message);
        Assert.Equal("invalid commit sha \"xyz\"", Assert.Throws<InvalidOperationException>(() => GitRefs.Choose("a", "xyz\trefs/heads/a\n")).Message);
    }

    [Theory]
    [InlineData($"ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n", "trunk")]
    [InlineData($"ref: refs/heads/a/b\tHEAD\n", "a/b")]
    [InlineData($"{A}\tHEAD\n", null)]
    [InlineData("", null)]
    public void The_default_branch_is_what_HEAD_points_to(string output, string? branch) => Assert.Equal(branch, GitRefs.DefaultBranch(output));
}
