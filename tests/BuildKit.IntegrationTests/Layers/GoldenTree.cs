using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.IntegrationTests.Layers;

/// <summary>Trees of the golden set <c>layers</c>: made on disk, and read back as comparable lines.</summary>
internal static class GoldenTree
{
    internal static string? Text(JsonElement entry, string name)
    {
        if (entry.TryGetProperty(name, out var text))
            return text.GetString();
        return entry.TryGetProperty(name + "64", out var bytes) ? LinuxText.Decode(bytes.GetBytesFromBase64()) : null;
    }

    internal static byte[]? Bytes(JsonElement entry, string name)
    {
        if (entry.TryGetProperty(name, out var text))
            return Encoding.UTF8.GetBytes(text.GetString()!);
        return entry.TryGetProperty(name + "64", out var bytes) ? bytes.GetBytesFromBase64() : null;
    }

    internal static byte[] Unpack(JsonElement gz64)
    {
        using var gzip = new GZipStream(new MemoryStream(gz64.GetBytesFromBase64()), CompressionMode.Decompress);
        var result = new MemoryStream();
        gzip.CopyTo(result);
        return result.ToArray();
    }

    internal static void Create(string root, JsonElement tree)
    {
        using var dir = LinuxFile.OpenDirectory(root);
        var entries = tree.EnumerateArray().ToList();
        foreach (var entry in entries)
            CreateEntry(dir, entry);
        foreach (var entry in entries.Where(e => e.GetProperty("type").GetString() == "dir").Reverse())
            SetTimes(dir, Text(entry, "path")!, entry);
        if (!entries.Exists(e => Text(e, "path") == "."))
            LinuxFile.SetTimes(dir, ".", new UnixTime(1700000000, 0), new UnixTime(1700000000, 0));
    }

    /// <summary>The one directory that several layers look like, the bottommost first; its path.</summary>
    internal static async Task<string> MergeAsync(TempDirectory temp, string name, IReadOnlyList<JsonElement> layers)
    {
        var directories = new List<string>();
        foreach (var layer in layers)
        {
            directories.Insert(0, temp.Sub($"{name}-{directories.Count}"));
            Create(directories[0], layer);
        }
        await using var view = MountedTree.Open([new MountSpec("overlay", "overlay", ["index=off", "lowerdir=" + string.Join(':', directories)])], readOnly: true, temp.Path);
        (await Programs.RunAsync("cp", ["-a", view.Root, $"{temp.Path}/{name}"])).Succeeded();
        return $"{temp.Path}/{name}";
    }

    private static void CreateEntry(SafeFileHandle dir, JsonElement entry)
    {
        var path = Text(entry, "path")!;
        var type = entry.GetProperty("type").GetString();
        var mode = entry.TryGetProperty("mode", out var m) ? Convert.ToUInt32(m.GetString(), 8) : 0x1FF;
        uint Number(string name) => entry.TryGetProperty(name, out var n) ? n.GetUInt32() : 0;
        switch (type)
        {
            case "dir":
                if (path != ".")
                    LinuxFile.Mkdir(dir, path, 0x1C0);
                break;
            case "file":
                using (var file = LinuxFile.Open(dir, path, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive, 0x180))
                {
                    if (Bytes(entry, "content") is { } content)
                        RandomAccess.Write(file, content, 0);
                    else
                        LinuxFile.Truncate(file, entry.GetProperty("size").GetInt64());
                }
                break;
            case "symlink":
                LinuxFile.Symlink(Text(entry, "target")!, dir, path);
                break;
            case "hardlink":
                LinuxFile.Link(dir, Text(entry, "linkTo")!, dir, path);
                return;
            case "fifo":
                LinuxFile.Mknod(dir, path, UnixMode.Fifo | 0x180);
                break;
            case "socket":
                LinuxFile.Mknod(dir, path, UnixMode.Socket | 0x180);
                break;
            case "char" or "block":
                LinuxFile.Mknod(dir, path, (type == "char" ? UnixMode.Char : UnixMode.Block) | 0x180, Number("major"), Number("minor"));
                break;
            case "ghost":
                return;
            default:
                throw new InvalidDataException($"{path}: type {type}");
        }
        LinuxFile.Lchown(dir, path, Number("uid"), Number("gid"));
        if (entry.TryGetProperty("xattrs", out var xattrs))
        {
            foreach (var attribute in xattrs.EnumerateObject())
                Assert.Equal(Errno.None, Xattr.TrySet(dir, path, attribute.Name, attribute.Value.GetBytesFromBase64()));
        }
        if (type != "symlink")
            LinuxFile.Chmod(dir, path, mode);
        SetTimes(dir, path, entry);
    }

    private static void SetTimes(SafeFileHandle dir, string path, JsonElement entry)
    {
        if (!entry.TryGetProperty("mtimeSec", out var seconds))
            return;
        var time = new UnixTime(seconds.GetInt64(), entry.TryGetProperty("mtimeNsec", out var ns) ? ns.GetInt32() : 0);
        LinuxFile.SetTimes(dir, path, time, time);
    }

    /// <summary>The lines a golden tree should give; <see cref="Describe"/> gives those of the disk.</summary>
    internal static List<string> Expected(JsonElement tree)
    {
        var entries = tree.EnumerateArray().ToDictionary(e => Text(e, "path")!, StringComparer.Ordinal);
        var lines = new List<string>();
        foreach (var (path, listed) in entries)
        {
            var entry = listed;
            while (entry.GetProperty("type").GetString() == "hardlink")
                entry = entries[Text(entry, "linkTo")!];
            var type = entry.GetProperty("type").GetString();
            if (type == "ghost")
                continue;
            var mtime = entry.TryGetProperty("mtimeSec", out var s)
                ? string.Create(CultureInfo.InvariantCulture, $"{s.GetInt64()}.{(entry.TryGetProperty("mtimeNsec", out var ns) ? ns.GetInt32() : 0)}") : "now";
            var mode = entry.TryGetProperty("mode", out var m) ? Convert.ToString(Convert.ToUInt32(m.GetString(), 8), 8) : "777";
            long Number(string name) => entry.TryGetProperty(name, out var n) ? n.GetInt64() : 0;
            var xattrs = entry.TryGetProperty("xattrs", out var x)
                ? string.Join(',', x.EnumerateObject().Where(a => !a.Name.StartsWith("trusted.overlay.origin", StringComparison.Ordinal)).Select(a => a.Name + "=" + a.Value.GetString()).Order(StringComparer.Ordinal)) : "";
            var body = type switch
            {
                "file" => Convert.ToBase64String(Bytes(entry, "content") ?? []),
                "symlink" => Text(entry, "target"),
                "char" or "block" => string.Create(CultureInfo.InvariantCulture, $"{Number("major")}:{Number("minor")}"),
                _ => "",
            };
            var link = Text(listed, "linkTo") ?? entries.Where(e => Text(e.Value, "linkTo") == path).Select(_ => path).FirstOrDefault() ?? "";
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{path}|{type}|{mode}|{Number("uid")}:{Number("gid")}|{mtime}|{xattrs}|{body}|{link}"));
        }
        return [.. lines.Order(StringComparer.Ordinal)];
    }

    internal static List<string> Describe(string root, IEnumerable<string> timesToIgnore)
    {
        var ignored = timesToIgnore.ToHashSet(StringComparer.Ordinal);
        var lines = new List<string>();
        var first = new Dictionary<ulong, string>();
        using var dir = LinuxFile.OpenDirectory(root);
        Add(".");
        // A link group of which only one name can be seen is none.
        foreach (var name in first.Values.Where(n => lines.Count(l => l.EndsWith("|" + n, StringComparison.Ordinal)) == 1).ToList())
        {
            var at = lines.FindIndex(l => l.EndsWith("|" + name, StringComparison.Ordinal));
            lines[at] = lines[at][..^name.Length];
        }
        return [.. lines.Order(StringComparer.Ordinal)];

        void Add(string path)
        {
            if (!LinuxFile.TryLstat(dir, path, out var stat))
                return;
            var type = stat.Type switch
            {
                UnixMode.Directory => "dir",
                UnixMode.Regular => "file",
                UnixMode.Symlink => "symlink",
                UnixMode.Fifo => "fifo",
                UnixMode.Socket => "socket",
                UnixMode.Char => "char",
                _ => "block",
            };
            var body = type switch
            {
                "file" => Convert.ToBase64String(File.ReadAllBytes(LinuxFile.ProcPath(dir, path))),
                "symlink" => LinuxFile.ReadLink(dir, path),
                "char" or "block" => string.Create(CultureInfo.InvariantCulture, $"{stat.RdevMajor}:{stat.RdevMinor}"),
                _ => "",
            };
            var xattrs = string.Join(',', Xattr.List(dir, path).Where(n => n is not ("trusted.overlay.origin" or "trusted.overlay.impure")).Select(n => n + "=" + Convert.ToBase64String(Xattr.Get(dir, path, n) ?? [])).Order(StringComparer.Ordinal));
            var mtime = ignored.Contains(path) ? "now" : string.Create(CultureInfo.InvariantCulture, $"{stat.Mtime.Seconds}.{stat.Mtime.Nanoseconds}");
            var link = "";
            if (stat.Links > 1 && type != "dir")
                link = first.TryGetValue(stat.Inode, out var name) ? name : first[stat.Inode] = path;
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{path}|{type}|{Convert.ToString(stat.Permissions, 8)}|{stat.Uid}:{stat.Gid}|{mtime}|{xattrs}|{body}|{link}"));
            if (type != "dir")
                return;
            foreach (var entry in LinuxDirectory.ReadSorted(dir, path))
                Add(path == "." ? entry.Name : path + "/" + entry.Name);
        }
    }

    internal static IEnumerable<string> NowPaths(JsonElement tree) =>
        tree.EnumerateArray().Where(e => e.TryGetProperty("mtimeNow", out _)).Select(e => Text(e, "path")!);
}
