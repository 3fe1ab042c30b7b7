using System.Formats.Tar;
using System.IO.Compression;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Language;

/// <summary>A daemon, a registry with base images, and one build context with all that a file can be.</summary>
public class LanguageFixture : IAsyncLifetime
{
    /// <summary>Modification time of everything in the context.</summary>
    public const long ContextTime = 1_500_000_000;

    /// <summary>Where the secret of the builds comes from.</summary>
    internal static readonly IReadOnlyDictionary<string, string?> Secret = new Dictionary<string, string?>(StringComparer.Ordinal) { ["PARITY_SECRET"] = "not to be told" };

    private readonly BuildFixture _ours = new();

    /// <summary>What every test of a class with this fixture needs.</summary>
    internal static readonly string[] Needs = [.. BuildFixture.Needs, "bzip2", "xz", "zstd"];

    /// <summary>Name of the base image.</summary>
    public string Base => _ours.Base;

    /// <summary>Name of a base image with triggers.</summary>
    public string Triggering => $"{_ours.Registry.Host}/triggering:latest";

    /// <summary>The shared build context.</summary>
    public ContextDirectory Context { get; } = new();

    /// <summary>Our client on our daemon.</summary>
    public Buildctl Client => _ours.Client;

    /// <summary>Builds an image and reads it back.</summary>
    public async Task<DockerArchive> BuildAsync(string dockerfile, params string[] arguments)
    {
        using var temp = Folder(dockerfile);
        (await Client.RunAsync(Arguments(temp, [.. arguments, "--output", $"type=docker,dest={temp["image.tar"]},name=example.com/parity:1"]), more: Secret)).Succeeded();
        return await DockerArchive.ReadAsync(temp["image.tar"]);
    }

    public virtual async Task InitializeAsync()
    {
        if (Requirement.Missing(Needs) is not null)
            return; // every test of the class is skipped for the same reason
        await _ours.InitializeAsync();
        await PushTriggeringAsync();
        await FillAsync();
    }

    public virtual async Task DisposeAsync()
    {
        await _ours.DisposeAsync();
        Context.Dispose();
    }

    /// <summary>The words of a build of a Dockerfile that lies apart from the context.</summary>
    internal IEnumerable<string> Arguments(ContextDirectory dockerfile, IEnumerable<string> more) =>
        ["build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", "context=" + Context.Path, "--local", "dockerfile=" + dockerfile.Path, .. more];

    /// <summary>A folder with a Dockerfile whose <c>@BASE@</c> and <c>@TRIGGERING@</c> are the images.</summary>
    internal ContextDirectory Folder(string dockerfile) =>
        new(dockerfile.Replace("@BASE@", Base, StringComparison.Ordinal).Replace("@TRIGGERING@", Triggering, StringComparison.Ordinal));

    private async Task PushTriggeringAsync()
    {
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var (name, mode) in new[] { ("bin/", 0x1EDu), ("tmp/", 0x3FFu) })
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.Directory, name) { Mode = (UnixFileMode)mode, ModificationTime = DateTimeOffset.FromUnixTimeSeconds(1_200_000_000) });
            foreach (var name in new[] { "bin/sh", "bin/cat" })
            {
                await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, name)
                {
                    Mode = (UnixFileMode)0x1ED,
                    ModificationTime = DateTimeOffset.FromUnixTimeSeconds(1_200_000_000),
                    DataStream = new MemoryStream(await File.ReadAllBytesAsync("/bin/busybox")),
                });
            }
        }
        await BaseImage.PushAsync(_ours.Registry, "triggering:latest", tar.ToArray(), configJson: """
            {"architecture":"amd64","os":"linux","author":"somebody","created":"2020-02-02T02:02:02Z",
             "config":{"Env":["PATH=/bin","FROM_BASE=yes"],"WorkingDir":"/work","User":"7:8","Labels":{"base":"label"},"ExposedPorts":{"1/tcp":{}},"Volumes":{"/bv":{}},
              "Cmd":["base-cmd"],"Entrypoint":["/bin/sh","-c"],"StopSignal":"SIGQUIT","Shell":["/bin/sh","-e","-c"],
              "Healthcheck":{"Test":["CMD","x"],"Interval":1000000000},
              "OnBuild":["COPY a.txt /triggered/","RUN echo $TRIGGER_ARG > /tmp/ran","ENV TRIGGERED=1"]},
             "history":[{"created":"2020-02-02T02:02:02Z","created_by":"ADD base"},{"created":"2020-02-02T02:02:03Z","created_by":"ENV FROM_BASE=yes","empty_layer":true}],
             "rootfs":{"type":"layers","diff_ids":["@BASE@"]}}
            """);
    }

    private async Task FillAsync()
    {
        foreach (var (name, text) in new[]
        {
            ("a.txt", "a\n"), ("b.txt", "bb\n"), ("sp ace.txt", "space\n"), ("exec.sh", "#!/bin/sh\necho run\n"), ("ro.txt", "ro\n"), ("suid", "suid\n"), ("empty.txt", ""),
            ("dir/one.txt", "1\n"), ("dir/two.md", "2\n"), ("dir/.hidden", "h\n"), ("dir/sub/deep.txt", "deep\n"), ("dir/sub/deeper/leaf", "leaf\n"), ("dir2/one.txt", "other\n"),
            ("[x].txt", "brackets\n"), ("not-an-archive.tar", "no tar\n"), ("ignored/file", "x\n"), ("unicode-é日.txt", "u\n"),
        })
            Context.Write(name, text);
        Directory.CreateDirectory(Context["emptydir"]);
        File.SetUnixFileMode(Context["emptydir"], (UnixFileMode)0x1C0);
        File.SetUnixFileMode(Context["dir/sub"], (UnixFileMode)0x1E8);
        File.SetUnixFileMode(Context["exec.sh"], (UnixFileMode)0x1ED);
        File.SetUnixFileMode(Context["ro.txt"], (UnixFileMode)0x124);
        File.SetUnixFileMode(Context["suid"], (UnixFileMode)0x9ED);
        foreach (var (link, target) in new[] { ("link", "a.txt"), ("dlink", "dir"), ("abs", "/a.txt"), ("dangling", "nope"), ("dir/up", "../b.txt"), ("out", "../../../../etc/passwd") })
            File.CreateSymbolicLink(Context[link], target);
        await WriteArchivesAsync();
        var time = DateTimeOffset.FromUnixTimeSeconds(ContextTime).UtcDateTime;
        (await Programs.RunAsync("ln", [Context["a.txt"], Context["hard.txt"]])).Succeeded();
        (await Programs.RunAsync("find", [Context.Path, "-exec", "touch", "-h", "-d", time.ToString("o"), "{}", "+"])).Succeeded();
    }

    private async Task WriteArchivesAsync()
    {
        using var tar = new MemoryStream();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            Add(new PaxTarEntry(TarEntryType.Directory, "top/"), 0x1ED, 3, 4);
            Add(new PaxTarEntry(TarEntryType.RegularFile, "top/file") { DataStream = new MemoryStream("in tar\n"u8.ToArray()) }, 0x9A4, 1000, 1001);
            Add(new PaxTarEntry(TarEntryType.RegularFile, "top/attr", [new("SCHILY.xattr.user.note", "hello")]) { DataStream = new MemoryStream("x\n"u8.ToArray()) }, 0x180, 0, 0);
            Add(new PaxTarEntry(TarEntryType.SymbolicLink, "top/sym") { LinkName = "file" }, 0x1FF, 1, 2);
            Add(new PaxTarEntry(TarEntryType.HardLink, "top/hard") { LinkName = "top/file" }, 0x9A4, 1000, 1001);
            Add(new PaxTarEntry(TarEntryType.Fifo, "top/fifo"), 0x1B6, 0, 0);
            Add(new PaxTarEntry(TarEntryType.RegularFile, "noparent/file") { DataStream = new MemoryStream("np\n"u8.ToArray()) }, 0x1A4, 0, 0);
            Add(new PaxTarEntry(TarEntryType.RegularFile, $"top/{new string('l', 180)}") { DataStream = new MemoryStream() }, 0x1A4, 0, 0);

            void Add(PaxTarEntry entry, uint mode, int uid, int gid)
            {
                (entry.Mode, entry.Uid, entry.Gid, entry.ModificationTime) = ((UnixFileMode)mode, uid, gid, DateTimeOffset.FromUnixTimeSeconds(1_400_000_000));
                writer.WriteEntry(entry);
            }
        }
        Context.Write("t.tar", tar.ToArray());
        using var gzip = new MemoryStream();
        await using (var compressed = new GZipStream(gzip, CompressionLevel.Fastest, leaveOpen: true))
            await compressed.WriteAsync(tar.ToArray());
        Context.Write("t.tgz", gzip.ToArray());
        foreach (var (program, name) in new[] { ("bzip2", "t.tar.bz2"), ("xz", "t.tar.xz"), ("zstd", "t.tar.zst") })
            Context.Write(name, (await Programs.RunAsync(program, ["-c"], input: tar.ToArray())).Succeeded().Output);
    }
}
