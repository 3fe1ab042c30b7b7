using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;
using FileAction = BuildKit.Llb.FileAction;
using Platform = BuildKit.Oci.Platform;
using ProgressGroup = BuildKit.Llb.ProgressGroup;

namespace BuildKit.Tests.Llb;

/// <summary>The programs of tests/golden/llb/index.json, written with our API.</summary>
internal static class GoldenPrograms
{
    public const string HelloDigest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    public static readonly MarshalOptions Amd64 = new() { Platform = new Platform("linux", "amd64") };

    private static State Alpine => State.Image("alpine:3.19");

    private static State Busybox => State.Image("busybox:latest");

    /// <summary>Under which name this class knows the program of an example, whatever the example is called; null when it is not known.</summary>
    public static string? NameOf(JsonElement example)
    {
        var program = example.GetProperty("program").GetString();
        foreach (var own in Golden.List(Golden.Own("llb", "index.json"), "examples"))
        {
            if (own.GetProperty("program").GetString() == program && own.GetProperty("ops").ToString() == example.GetProperty("ops").ToString())
                return own.GetProperty("name").GetString();
        }
        return null;
    }

    public static async Task<Definition> MarshalAsync(string name) => await Program(name).MarshalAsync(name switch
    {
        "25-caps-no-defaultpath" => Amd64 with
        {
            Capabilities = LlbCaps.All.SupportedBy(LlbCaps.All.Items.Select(item => item.Id).Where(id => id != LlbCaps.ExecMetaSetsDefaultPath)),
        },
        "26-caps-all" => Amd64 with { Capabilities = LlbCaps.All.Everything() },
        "40-global-ignorecache" => Amd64 with { Constraints = new OpConstraints { IgnoreCache = true, WorkerFilters = ["w==1"] } },
        _ => Amd64,
    });

    public static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    private static int Octal(string digits) => Convert.ToInt32(digits, 8);

    private static RunOptions Args(params string[] args) => new() { Args = args };

    private static OpConstraints On(string os, string architecture, string variant = "") => new() { Platform = new Platform(os, architecture, variant) };

    private static State Program(string name) => name switch
    {
        "01-image" => Alpine,
        "02-image-options" => State.Image("alpine", new ImageOptions { RecordType = "internal", ResolveMode = ImageResolveMode.Pull, LayerLimit = 2 }),
        "03-run-shlex" => Alpine.Run("sh -c \"echo hello > /out\"").Root,
        "04-run-meta" => Alpine.AddEnv("A", "1").AddEnv("B", "2").AddEnv("A", "3").Dir("/build").Dir("sub").User("nobody").Hostname("box")
            .AddExtraHost("db", IPAddress.Parse("10.0.0.5")).AddUlimit("nofile", 1024, 2048).CgroupParent("cg0")
            .Network(NetMode.Host).Security(SecurityMode.Insecure)
            .Run(Args("make", "all") with
            {
                Proxy = new ProxySettings(Http: "http://p:1", No: "localhost"),
                Configure = state => state.ValidExitCodes(0, 3),
            }),
        "05-run-mounts" => RunMounts(),
        "06-run-readonly-root" => Alpine.Run(Args("true") with { ReadOnlyRoot = true }).AddMount("/out", State.Scratch),
        "07-file-chain" => State.Scratch.File(Files.Mkdir("/app", Octal("755"), new MkdirOptions { MakeParents = true })
            .Mkfile("/app/hello.txt", Octal("644"), Bytes("hello\n"))
            .Remove("/app/missing*", new RemoveOptions { AllowNotFound = true, AllowWildcard = true })
            .Symlink("hello.txt", "/app/link")),
        "08-file-owner-time" => Alpine.Dir("/data").File(
            Files.Mkdir("d", Octal("700"), new MkdirOptions { Owner = FileOwner.Parse("nobody:nogroup"), CreatedTime = 1700000000000000005 })
                .Mkfile("d/f", Octal("600"), Bytes("x"), new MkfileOptions { Owner = FileOwner.Ids(1000, 1001) })
                .Mkfile("d/g", Octal("600"), default, new MkfileOptions { Owner = FileOwner.Parse("root:12") })),
        "09-local-copy" => Alpine.File(Files.Copy(State.Local("context", new LocalOptions
        {
            SessionId = "sess1",
            IncludePatterns = ["src/**", "a&b<c>"],
            ExcludePatterns = ["*.md"],
            FollowPaths = ["go.mod"],
            SharedKeyHint = "ctx",
            Differ = LocalOptions.DifferNone,
            DifferRequired = true,
        }), "/", "/app/")),
        "10-copy-options" => Alpine.File(Files.Copy(Busybox, "bin/*", "/dst/.", new CopyOptions
        {
            Mode = Octal("750"),
            FollowSymlinks = true,
            CopyDirectoryContents = true,
            IncludePatterns = ["b*"],
            ExcludePatterns = ["bad"],
            AttemptUnpack = true,
            CreateDestinationPath = true,
            AllowWildcard = true,
            AllowEmptyWildcard = true,
            AlwaysReplaceExistingDestinationPaths = true,
            Owner = FileOwner.Parse("1000:staff"),
        })),
        "11-copy-modestr-chain" => Alpine.File(Files.Copy(Busybox, "/bin/sh", "/sh", new CopyOptions { ModeText = "u=rwX,go=rX" })
            .Copy(State.Scratch.File(Files.Mkfile("/f", Octal("644"), Bytes("f"))), "/f", "/f2")),
        "12-copy-from-action" => Alpine.Dir("/abc").File(Files.Mkdir("bar", Octal("755"))
            .Copy(Files.Mkdir("foo", Octal("755")).On(State.Scratch.Dir("/ced")), "foo", "baz")),
        "13-merge" => State.Merge([Alpine, File("/a", "a"), State.Scratch, File("/b", "b")]),
        "14-diff" => State.Diff(Alpine, Alpine.Run(Args("touch", "/x")).Root),
        "15-diff-upper-scratch" => State.Diff(Alpine, State.Scratch),
        "16-git-https" => State.Git("https://github.com/moby/buildkit.git", "v0.20.0", new GitOptions { KeepGitDir = true }),
        "17-git-ssh" => State.Git("git@github.com:moby/buildkit.git", "master:docs", new GitOptions { KnownSshHosts = ["github.com ssh-ed25519 AAAA"] }),
        "18-http" => State.Http("https://example.com/f.tgz?x=1", new HttpOptions
        {
            Checksum = Digest.Sha256("hello"),
            Filename = "f.tgz",
            Mode = Octal("644"),
            Uid = 1000,
            Gid = 1001,
        }),
        "19-oci-layout" => State.OciLayout("local/img@" + HelloDigest, new OciLayoutOptions { SessionId = "sess1", StoreId = "store1", LayerLimit = 1 }),
        "20-metadata" => Metadata(),
        "21-platform-arm" => State.Image("alpine:3.19", new ImageOptions { Constraints = On("linux", "arm", "v7") })
            .Run(Args("uname") with { Constraints = new OpConstraints { WorkerFilters = ["worker==a"] } }).Root,
        "22-platform-unnormalised" => Alpine.WithPlatform(new Platform("linux", "aarch64", "v8")).Run(Args("uname")).Root,
        "23-diamond" => Diamond(),
        "24-build-op" => Alpine.Build("my.llb"),
        "25-caps-no-defaultpath" or "26-caps-all" => Alpine.Run(Args("env")).Root,
        "27-scratch" => State.Scratch,
        "28-run-cdi-contentcache" => Alpine.Run(Args("nvidia-smi") with
        {
            Devices = [new RunDevice("vendor.com/gpu=gpu0", Optional: true)],
            Mounts = [new RunMount("/in", Busybox) { Selector = "bin", ReadOnly = true, ContentCache = MountContentCache.Off }],
        }).Root,
        "29-local-unique" => State.Local("context", new LocalOptions { Constraints = new OpConstraints { LocalUniqueId = "uniq0123456789" } }),
        "30-secrets-defaults" => Alpine.Run(Args("true") with
        {
            Secrets = [RunSecret.File("/run/secrets/a"), RunSecret.Variable("B", "b")],
            Ssh = [new RunSsh(), new RunSsh("k2") { Target = "/ssh2", Optional = true }],
        }).Root,
        "31-platform-chain" => State.Image("alpine:3.19", new ImageOptions { Constraints = On("linux", "arm64") })
            .Run(Args("a") with { Constraints = On("linux", "s390x") }).Root.File(Files.Mkdir("/m", Octal("755"))).Run(Args("b")).Root,
        "32-image-config" => Alpine.AddEnv("Z", "0").WithImageConfig(
            """{"architecture":"arm64","os":"linux","variant":"v8","config":{"Env":["PATH=/bin","X","=y","Z=1"],"WorkingDir":"/wd","User":"u"}}"""u8)
            .Run(Args("a")).Root,
        "33-copy-self" => Alpine.File(Files.Copy(Alpine, "/etc", "/etc2")),
        "34-copy-from-scratch" => Alpine.File(Files.Copy(State.Scratch, "/a", "/b")),
        "35-merge-dup" => Twice(Alpine, (a, b) => State.Merge([a, b])),
        "36-diff-same" => Twice(Alpine, (a, b) => State.Diff(a, b)),
        "37-paths" => Paths(),
        "38-git-urls" => GitUrls(),
        "39-shlex" => ShlexChain(),
        "40-global-ignorecache" => Alpine.Run(Args("a")).Root,
        "41-scratch-run" => State.Scratch.Run(Args("/x") with { Mounts = [new RunMount("/in", Alpine) { Selector = "/a" }] }).Root,
        "42-image-refs" => State.Merge(new[]
        {
            "alpine", "foo/bar", "localhost:5000/x", "localhost/x:1", "alpine@" + HelloDigest, "alpine:3@" + HelloDigest,
            "index.docker.io/alpine:2", "docker.io/alpine:1", "example.com/a/b/c",
        }.Select(reference => State.Image(reference))),
        "43-definition-op" => State.FromDefinition(Alpine.Run(Args("a")).Root.MarshalAsync(Amd64).GetAwaiter().GetResult()).Run(Args("b")).Root,
        _ => throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"no program {name}"), nameof(name)),
    };

    private static State Twice(State state, Func<State, State, State> combine) => combine(state, state);

    private static State File(string path, string content) =>
        State.Scratch.File(Files.Mkfile(path, Octal("644"), Bytes(content)));

    private static State RunMounts() => State.Image("golang:1.22").Run(Args("go", "build") with
    {
        Mounts =
        [
            new RunMount("/src", State.Local("context", new LocalOptions { Constraints = new OpConstraints { LocalUniqueId = "uniq0123456789" } })) { ReadOnly = true, Selector = "app" },
            RunMount.Cache("/root/.cache", "gocache", CacheSharingOpt.Locked),
            RunMount.Tmpfs("/tmpfs", 1048576),
            new RunMount("/scratchrw", State.Scratch) { NoOutput = true },
        ],
        Secrets =
        [
            RunSecret.File("/run/secrets/tok", "tok") with { Uid = 1, Gid = 2, Mode = 0x120, Optional = true },
            RunSecret.Variable("TOKEN", "tok"),
        ],
        Ssh = [new RunSsh("default")],
    }).AddMount("/out", State.Scratch);

    private static State Metadata()
    {
        var map = new SourceMap("Dockerfile", "Dockerfile", Bytes("FROM alpine\nRUN exit 1\n"));
        return State.Image("alpine:3.19", new ImageOptions
        {
            Constraints = OpConstraints.None.WithCustomName("[1/2] FROM alpine").WithLocation(map, new SourceRange(1, 0, 1, 11)),
        }).Run(Args("exit", "1") with
        {
            Constraints = new OpConstraints { IgnoreCache = true, ExportCache = false, ProgressGroup = new ProgressGroup("pg1", "group one", Weak: true) }
                .WithCustomName("[2/2] RUN exit 1").WithDescription("com.example.k", "v").WithLocation(map, new SourceRange(2, 0, 2, 10)),
        }).Root;
    }

    private static State Diamond()
    {
        var image = Alpine;
        var left = image.Run(Args("touch", "/l")).Root;
        var right = image.Run(Args("touch", "/r")).Root;
        return image.Run(Args("cat", "/l/l", "/r/r") with
        {
            Mounts = [new RunMount("/r", right) { ReadOnly = true }, new RunMount("/l", left) { ReadOnly = true }],
        }).Root;
    }

    private static State Paths() => State.Merge(
        new[] { "", ".", "/", "a", "a/", "a/.", "../x", "/.", "./", "/a/../b/", "a//b" }.Select(path =>
            State.Scratch.Dir("/w").File(Files.Copy(Alpine.Dir("/s"), path, path)
                .Mkdir(path, Octal("1777")).Remove(path).Mkfile(path, Octal("1777"), default))));

    private static State GitUrls()
    {
        var known = new GitOptions { KnownSshHosts = ["k"] };
        (string Url, string Ref)[] remotes =
        [
            ("github.com/moby/buildkit", "master"), ("https://github.com/moby/buildkit.git#x:y", "main"), ("http://u:p@h:8080/a/b.git", ""),
            ("ssh://git@h:2222/a//b", "v1"), ("git@h:~/x.git", "r:sub"), ("git://h/p", "deadbeef"), ("foo://h/p", "r"), ("https://h/a/../b/", "r"),
        ];
        return State.Merge([
            .. remotes.Select(remote => State.Git(remote.Url, remote.Ref, known)),
            State.Git("https://h/x", "", new GitOptions { AuthTokenSecret = "T", AuthHeaderSecret = "" }),
        ]);
    }

    private static State ShlexChain()
    {
        var state = Alpine;
        foreach (var line in new[]
        {
            """a b "c d" 'e f' g\ h""", "a # comment", "a#b c", """
            "a\"b" 'c\d' e\\f
            """, "x\ty\nz", "a \"\" b", "a \"unterminated", "$HOME && b | c",
        })
            state = state.Run(line).Root;
        return state;
    }
}
