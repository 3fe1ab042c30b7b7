using System.Text;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Tests.Daemon.Explaining;

/// <summary>A small build as a Dockerfile would give it: an image, a copy from the client, two commands, and a stage that copies from them.</summary>
internal sealed record Recipe
{
    public string Image { get; init; } = "docker.io/library/alpine:3.19";

    public string From { get; init; } = "src";

    public string To { get; init; } = "/src";

    public CopyOptions Copy { get; init; } = new() { CopyDirectoryContents = true };

    public string Command { get; init; } = "make";

    public IReadOnlyList<string>? Args { get; init; }

    /// <summary>The second command.</summary>
    public string Test { get; init; } = "make test";

    public Func<State, State> Configure { get; init; } = state => state;

    public IReadOnlyList<RunMount> Mounts { get; init; } = [];

    public IReadOnlyList<RunSecret> Secrets { get; init; } = [];

    public IReadOnlyList<RunSsh> Ssh { get; init; } = [];

    public bool ReadOnlyRoot { get; init; }

    /// <summary>A command between copy and make.</summary>
    public string Inserted { get; init; } = "";

    /// <summary>Content of a file written before all.</summary>
    public string Heredoc { get; init; } = "";

    public bool IgnoreCache { get; init; }

    /// <summary>Platform of make.</summary>
    public string Platform { get; init; } = "linux/amd64";

    public bool HasFinalStage { get; init; }

    public string FinalOwner { get; init; } = "";

    public const string FromName = "[build 1/4] FROM alpine";
    public const string CopyName = "[build 2/4] COPY src /src";
    public const string MakeName = "[build 3/4] RUN make";
    public const string TestName = "[build 4/4] RUN make test";
    public const string HeredocName = "[build 2/4] COPY <<EOF /etc/app.conf";
    public const string FinalName = "[stage-1 1/1] COPY --from=build /out /";

    public State State
    {
        get
        {
            var image = State.Image(Image, new ImageOptions { Constraints = Named(FromName) });
            var context = State.Local("context", new LocalOptions { Constraints = OpConstraints.None.WithCustomName("[internal] load build context") });
            var state = image;
            if (Heredoc.Length > 0)
                state = state.File(Files.Mkfile("/etc/app.conf", 0x1A4, Encoding.UTF8.GetBytes(Heredoc)), Named(HeredocName));
            state = state.File(Files.Copy(context, From, To, Copy), Named(CopyName));
            if (Inserted.Length > 0)
                state = state.Run(new RunOptions { Args = ["/bin/sh", "-c", Inserted], Constraints = Named("[build 3/5] RUN " + Inserted) });
            state = state.Run(new RunOptions
            {
                Args = Args ?? ["/bin/sh", "-c", Command],
                Configure = Configure,
                Mounts = Mounts,
                Secrets = Secrets,
                Ssh = Ssh,
                ReadOnlyRoot = ReadOnlyRoot,
                Constraints = Named(MakeName) with { Platform = BuildKit.Oci.Platform.Parse(Platform) },
            });
            state = state.Run(new RunOptions { Args = ["/bin/sh", "-c", Test], Constraints = Named(TestName) });
            if (!HasFinalStage)
                return state;
            var options = new CopyOptions { CopyDirectoryContents = true, Owner = FinalOwner.Length > 0 ? FileOwner.Parse(FinalOwner) : null };
            return State.Scratch.File(Files.Copy(state, "/out", "/", options), Named(FinalName));
        }
    }

    private OpConstraints Named(string name) => OpConstraints.None.WithCustomName(name) with { IgnoreCache = IgnoreCache };
}
