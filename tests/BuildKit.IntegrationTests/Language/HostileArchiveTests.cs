using System.Formats.Tar;
using System.Text;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>Archives made to break out of the folder they are added to: their files stay inside, or the build fails and says why.</summary>
public sealed class HostileArchiveTests(BuildFixture fixture) : IClassFixture<BuildFixture>, IDisposable
{
    private readonly ContextDirectory _canary = new ContextDirectory().Write("victim", "untouched");

    public void Dispose() => _canary.Dispose();

    [EndToEndTheory]
    [InlineData("climbing")]
    [InlineData("absolute")]
    [InlineData("link to an absolute path")]
    [InlineData("link that climbs")]
    public async Task What_leaves_the_root_lands_inside_it(string name)
    {
        var escape = "../../../../../../../../../.." + _canary.Path;
        byte[] archive = name switch
        {
            "climbing" => Archive(File(escape + "/victim", "pwned"), File("fine", "fine")),
            "absolute" => Archive(File(_canary["victim"], "pwned"), File("fine", "fine")),
            "link to an absolute path" => Archive(Link("out", _canary.Path), File("out/victim", "pwned"), File("fine", "fine")),
            _ => Archive(Link("out", escape), File("out/victim", "pwned"), File("fine", "fine")),
        };
        using var output = new TempDirectory();
        (await AddAsync(archive, output)).Succeeded();
        Assert.Equal("fine", await System.IO.File.ReadAllTextAsync(output.Path + "/o/x/fine"));
        AssertUntouched();
    }

    [EndToEndTheory]
    [InlineData("hard link to a file of the host")]
    [InlineData("hard link that climbs")]
    [InlineData("hard link through a link")]
    [InlineData("hard link to nothing")]
    [InlineData("name longer than a name may be")]
    [InlineData("path longer than a path may be")]
    [InlineData("file below a file")]
    [InlineData("cut off")]
    public async Task What_cannot_be_is_refused_without_telling_where_the_daemon_works(string name)
    {
        var escape = "../../../../../../../../../.." + _canary["victim"];
        byte[] archive = name switch
        {
            "hard link to a file of the host" => Archive(HardLink("h", _canary["victim"]), File("h", "pwned")),
            "hard link that climbs" => Archive(HardLink("h", escape), File("h", "pwned")),
            "hard link through a link" => Archive(Link("l", _canary.Path), HardLink("h", "l/victim"), File("h", "pwned")),
            "hard link to nothing" => Archive(HardLink("h", "nothing")),
            "name longer than a name may be" => Archive(File(new string('n', 300), "")),
            "path longer than a path may be" => Archive(File(string.Join('/', Enumerable.Repeat(new string('d', 200), 25)), "")),
            "file below a file" => Archive(File("f", "1"), File("f/g", "2")),
            _ => Archive(File("f", new string('x', 5000)))[..3000],
        };
        using var output = new TempDirectory();
        var failed = (await AddAsync(archive, output)).Failed();
        Assert.Contains("error: failed to solve: ", failed.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(fixture.Daemon.Root, failed.Errors, StringComparison.Ordinal);
        Assert.Contains(">>> ADD t.tar /x/", failed.Errors, StringComparison.Ordinal);
        AssertUntouched();
    }

    [EndToEndFact]
    public async Task Devices_pipes_and_repeated_names_are_unpacked_as_they_are()
    {
        var device = new PaxTarEntry(TarEntryType.CharacterDevice, "null") { DeviceMajor = 1, DeviceMinor = 3, Mode = (UnixFileMode)0x1B6 };
        var archive = Archive(device, new PaxTarEntry(TarEntryType.Fifo, "pipe"), File("f", "first"), File("f", "second"), new PaxTarEntry(TarEntryType.Directory, "d"), File("d/x", "x"), File("d", "a file now"));
        using var context = new ContextDirectory($"FROM {fixture.Base} AS all\nADD t.tar /x/\nRUN stat -c '%F %t:%T' /x/null > /out; stat -c %F /x/pipe /x/d >> /out; cat /x/f /x/d >> /out\nFROM scratch\nCOPY --from=all /out /\n").Write("t.tar", archive);
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal("character special file 1:3\nfifo\nregular file\nseconda file now", await System.IO.File.ReadAllTextAsync(output.Path + "/o/out"));
    }

    [EndToEndFact]
    public async Task A_sparse_file_of_many_gigabytes_takes_no_room()
    {
        // GNU's old sparse header: one byte of data at the end of 64 GiB.
        const long size = 64L << 30;
        var header = new byte[512];
        Put(0, "big");
        Put(100, "0000644\0");
        Put(108, "0000000\0");
        Put(116, "0000000\0");
        Put(124, Octal(512, 11) + "\0");
        Put(136, "00000000000\0");
        header[156] = (byte)'S';
        Put(257, "ustar  \0");
        Put(386, Octal(size - 512, 11) + "\0" + Octal(512, 11) + "\0");
        Put(483, Base256(size));
        Put(148, "        ");
        Put(148, Octal(header.Sum(b => b), 6) + "\0 ");
        byte[] archive = [.. header, .. Enumerable.Repeat((byte)'x', 512), .. new byte[1024]];
        using var context = new ContextDirectory($"FROM {fixture.Base} AS all\nADD t.tar /x/\nRUN stat -c '%s' /x/big > /size; test $(stat -c %b /x/big) -lt 100 && echo sparse >> /size\nFROM scratch\nCOPY --from=all /size /\n").Write("t.tar", archive);
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal($"{size}\nsparse\n", await System.IO.File.ReadAllTextAsync(output.Path + "/o/size"));

        void Put(int at, string text) => Encoding.Latin1.GetBytes(text).CopyTo(header, at);

        static string Octal(long value, int digits) => Convert.ToString(value, 8).PadLeft(digits, '0');

        static string Base256(long value) => value < 1L << 33 ? Octal(value, 11) + "\0" : "\u0080" + string.Concat(Enumerable.Range(0, 11).Select(i => (char)(byte)(i < 3 ? 0 : value >> (8 * (10 - i)))));
    }

    private async Task<ProgramResult> AddAsync(byte[] archive, TempDirectory output)
    {
        using var context = new ContextDirectory("FROM scratch\nADD t.tar /x/\n").Write("t.tar", archive);
        return await fixture.Client.BuildPlainAsync(context, "--output", $"type=local,dest={output.Path}/o");
    }

    private void AssertUntouched()
    {
        Assert.Equal([_canary["victim"]], Directory.GetFileSystemEntries(_canary.Path));
        Assert.Equal("untouched", System.IO.File.ReadAllText(_canary["victim"]));
    }

    private static PaxTarEntry File(string name, string text) =>
        new(TarEntryType.RegularFile, name) { Mode = (UnixFileMode)0x1A4, DataStream = new MemoryStream(Encoding.UTF8.GetBytes(text)) };

    private static PaxTarEntry Link(string name, string target) => new(TarEntryType.SymbolicLink, name) { LinkName = target };

    private static PaxTarEntry HardLink(string name, string target) => new(TarEntryType.HardLink, name) { LinkName = target };

    private static byte[] Archive(params PaxTarEntry[] entries)
    {
        using var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var entry in entries)
                writer.WriteEntry(entry);
        }
        return tar.ToArray();
    }
}
