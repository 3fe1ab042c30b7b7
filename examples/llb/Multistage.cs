using BuildKit.Llb;

namespace BuildKit.Examples.Llb;

/// <summary>What a multi-stage Dockerfile does: one stage makes a file, another takes only that file.</summary>
internal static class Multistage
{
    public static State Of(State image)
    {
        // Only what the step needs travels from the client; --local src=DIR says where it is.
        var source = State.Local("src", new LocalOptions { IncludePatterns = ["*.txt"], SharedKeyHint = "src" });

        var build = image
            .Dir("/work")
            .AddEnv("GREETING", "hello")
            .File(Files.Copy(source, "/", "/work/", new CopyOptions { CopyDirectoryContents = true, CreateDestinationPath = true }))
            .RunShell("{ echo \"$GREETING\"; cat *.txt; } > /result", OpConstraints.None.WithCustomName("put the result together"));

        return State.Scratch.File(
            Files.Copy(build, "/result", "/app/result", new CopyOptions { CreateDestinationPath = true, Mode = 0x1A4, Owner = FileOwner.Ids(1000, 1000) })
                .Symlink("result", "/app/latest"));
    }
}
