using BuildKit.Llb;

namespace BuildKit.Examples.Llb;

/// <summary>Takes a repository from where it is, builds in it, and keeps only what the build wrote.</summary>
internal static class GitCheckout
{
    public static State Of(State image, string url, string reference)
    {
        var checkout = State.Git(url, reference, new GitOptions { KeepGitDir = true });
        var build = image.Dir("/src").Run(new RunOptions
        {
            Args = ["/bin/sh", "-c", "ls -A > /out/listing && cat .git/HEAD > /out/head"],
            Mounts = [new RunMount("/src", checkout) { ReadOnly = true }],
            Constraints = OpConstraints.None.WithCustomName($"build {url}"),
        });
        return build.AddMount("/out", State.Scratch);
    }
}
