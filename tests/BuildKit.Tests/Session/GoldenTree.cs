using System.Globalization;
using System.Text;
using System.Text.Json;
using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Session.FileSync;

namespace BuildKit.Tests.Session;

/// <summary>Makes and describes the trees of the filesync golden set (fields: its index.json).</summary>
internal static class GoldenTree
{
    private const long DefaultTime = 1_700_000_000_000_000_000;

    /// <summary>Whether the tree can be made by this process.</summary>
    public static bool CanMake(JsonElement tree) =>
        LinuxProcess.EffectiveUserId == 0 || tree.EnumerateArray().All(entry =>
            !entry.TryGetProperty("uid", out _) && !entry.TryGetProperty("gid", out _) && Text(entry, "type") is not ("chardev" or "blockdev")
            && !(entry.TryGetProperty("xattrs", out var xattrs) && xattrs.EnumerateObject().Any(xattr => !xattr.Name.StartsWith("user.", StringComparison.Ordinal))));

    public static void Make(string root, JsonElement tree)
    {
        var later = new List<(string Path, JsonElement Entry)>();
        foreach (var entry in tree.EnumerateArray())
        {
            var path = root + "/" + PathOf(entry);
            var mode = entry.TryGetProperty("mode", out var text) ? Convert.ToUInt32(text.GetString(), 8) : (uint?)null;
            switch (Text(entry, "type"))
            {
                case "dir":
                    LinuxFile.Mkdir(path, 0x1ED);
                    break;
                case "symlink":
                    LinuxFile.Symlink(TargetOf(entry), LinuxFile.Cwd, path);
                    break;
                case "hardlink":
                    LinuxFile.Link(LinuxFile.Cwd, root + "/" + Text(entry, "link"), LinuxFile.Cwd, path);
                    continue;
                case "fifo":
                    LinuxFile.Mknod(LinuxFile.Cwd, path, UnixMode.Fifo | 0x1A4);
                    break;
                case "socket":
                    LinuxFile.Mknod(LinuxFile.Cwd, path, UnixMode.Socket | 0x1A4);
                    break;
                case "chardev" or "blockdev":
                    var type = Text(entry, "type") == "chardev" ? UnixMode.Char : UnixMode.Block;
                    LinuxFile.Mknod(LinuxFile.Cwd, path, type | 0x1A4, entry.GetProperty("major").GetUInt32(), entry.GetProperty("minor").GetUInt32());
                    break;
                default:
                    using (var handle = LinuxFile.Open(LinuxFile.Cwd, path, OpenFlags.Create | OpenFlags.WriteOnly | OpenFlags.Exclusive, 0x1A4))
                        RandomAccess.Write(handle, Content(entry), 0);
                    break;
            }
            if (entry.TryGetProperty("uid", out _) || entry.TryGetProperty("gid", out _))
                LinuxFile.Lchown(path, Number(entry, "uid"), Number(entry, "gid"));
            if (Text(entry, "type") != "symlink")
                LinuxFile.Chmod(path, mode ?? (Text(entry, "type") == "dir" ? 0x1EDu : 0x1A4u));
            if (entry.TryGetProperty("xattrs", out var xattrs))
            {
                foreach (var xattr in xattrs.EnumerateObject())
                    Xattr.Set(path, xattr.Name, xattr.Value.GetBytesFromBase64());
            }
            later.Add((path, entry));
        }
        for (var i = later.Count - 1; i >= 0; i--)
        {
            var time = UnixTime.FromNanoseconds(later[i].Entry.TryGetProperty("mtime", out var given) ? given.GetInt64() : DefaultTime);
            LinuxFile.SetTimes(later[i].Path, time, time);
        }
    }

    /// <summary>What a tree on disk looks like, one line per entry in walk order.</summary>
    public static List<string> Describe(string root)
    {
        var lines = new List<string>();
        foreach (var stat in new DirectoryTree(root).Walk(CancellationToken.None))
        {
            var mode = GoFileMode.ToUnix(stat.Mode);
            var type = stat.IsDirectory ? "dir" : stat.IsSymlink ? "symlink" : stat.Linkname.Length > 0 ? "hardlink"
                : (stat.Mode & GoFileMode.NamedPipe) != 0 ? "fifo" : (stat.Mode & GoFileMode.CharDevice) != 0 ? "chardev"
                : (stat.Mode & GoFileMode.Device) != 0 ? "blockdev" : "file";
            if (type == "hardlink")
            {
                lines.Add($"{stat.Path} hardlink {stat.Linkname}");
                continue;
            }
            var content = type == "file" ? Convert.ToHexString(File.ReadAllBytes(root + "/" + stat.Path)) : "";
            var octal = type == "symlink" ? "" : Convert.ToString(mode & 0xFFF, 8);
            lines.Add(Line(stat.Path, type, octal, stat.Uid, stat.Gid, stat.ModTime, stat.IsSymlink ? stat.Linkname : "", content, stat.Xattrs ?? []));
        }
        return lines;
    }

    /// <summary>The same for an expected tree; entries with the time of the run take it from the actual line.</summary>
    public static List<string> Describe(JsonElement tree, List<string> actual)
    {
        var lines = new List<string>();
        foreach (var entry in tree.EnumerateArray())
        {
            var path = PathOf(entry);
            var type = Text(entry, "type");
            if (type == "hardlink")
            {
                lines.Add($"{path} hardlink {Text(entry, "link")}");
                continue;
            }
            var mode = type == "symlink" ? "" : Text(entry, "mode") is { Length: > 0 } given ? given.TrimStart('0') : type == "dir" ? "755" : "644";
            var time = entry.TryGetProperty("mtime", out var mtime) ? mtime.GetInt64() : DefaultTime;
            if (time == -1)
            {
                var own = actual.Find(line => line.StartsWith(path + " ", StringComparison.Ordinal));
                var text = own is null ? "0" : own[(own.IndexOf("mtime=", StringComparison.Ordinal) + 6)..].Split(' ')[0];
                time = long.Parse(text, CultureInfo.InvariantCulture);
            }
            List<KeyValuePair<string, byte[]>> attributes = entry.TryGetProperty("xattrs", out var xattrs)
                ? [.. xattrs.EnumerateObject().OrderBy(xattr => xattr.Name, StringComparer.Ordinal).Select(xattr => KeyValuePair.Create(xattr.Name, xattr.Value.GetBytesFromBase64()))]
                : [];
            lines.Add(Line(path, type, mode, Number(entry, "uid"), Number(entry, "gid"), time, type == "symlink" ? TargetOf(entry) : "", type == "file" ? Convert.ToHexString(Content(entry)) : "", attributes));
        }
        return lines;
    }

    public static SyncStat StatOf(JsonElement stat) => new()
    {
        Path = PathOf(stat),
        Mode = Number(stat, "mode"),
        Uid = Number(stat, "uid"),
        Gid = Number(stat, "gid"),
        Size = stat.TryGetProperty("size", out var size) ? size.GetInt64() : 0,
        ModTime = stat.TryGetProperty("modTime", out var time) ? time.GetInt64() : 0,
        Linkname = stat.TryGetProperty("linkname_b64", out var raw) ? LinuxText.Decode(raw.GetBytesFromBase64()) : Text(stat, "linkname"),
        DevMajor = Number(stat, "devmajor"),
        DevMinor = Number(stat, "devminor"),
        Xattrs = stat.TryGetProperty("xattrs", out var xattrs)
            ? [.. xattrs.EnumerateObject().OrderBy(xattr => xattr.Name, StringComparer.Ordinal).Select(xattr => KeyValuePair.Create(xattr.Name, xattr.Value.GetBytesFromBase64()))]
            : null,
    };

    public static string Describe(SyncStat stat) =>
        $"{stat.Path} {stat.Mode} {stat.Uid}:{stat.Gid} {stat.Size} {stat.ModTime} '{stat.Linkname}' {stat.DevMajor}:{stat.DevMinor} "
        + string.Join(',', (stat.Xattrs ?? []).Select(xattr => xattr.Key + "=" + Convert.ToHexString(xattr.Value)));

    public static byte[] Content(JsonElement entry)
    {
        if (!entry.TryGetProperty("fill", out var fill))
            return entry.TryGetProperty("content", out var content) ? Encoding.UTF8.GetBytes(content.GetString()!) : [];
        var size = (entry.TryGetProperty("fill_size", out var fillSize) ? fillSize : entry.GetProperty("size")).GetInt32();
        var pattern = Encoding.UTF8.GetBytes(fill.GetString()!);
        var bytes = new byte[size];
        for (var i = 0; i < size; i++)
            bytes[i] = pattern[i % pattern.Length];
        return bytes;
    }

    public static IReadOnlyList<string>? Strings(JsonElement owner, string name) =>
        owner.TryGetProperty(name, out var list) ? [.. list.EnumerateArray().Select(value => value.GetString()!)] : null;

    public static FilterOptions Filter(JsonElement request) =>
        new(Strings(request, "include_patterns"), Strings(request, "exclude_patterns"), Strings(request, "followpaths"));

    public static string Text(JsonElement owner, string name) => owner.TryGetProperty(name, out var value) ? value.GetString()! : "";

    public static uint Number(JsonElement owner, string name) => owner.TryGetProperty(name, out var value) ? (uint)value.GetInt64() : 0;

    private static string PathOf(JsonElement entry) =>
        entry.TryGetProperty("path_b64", out var raw) ? LinuxText.Decode(raw.GetBytesFromBase64()) : Text(entry, "path");

    private static string TargetOf(JsonElement entry) =>
        entry.TryGetProperty("target_b64", out var raw) ? LinuxText.Decode(raw.GetBytesFromBase64()) : Text(entry, "target");

    private static string Line(
        string path, string type, string mode, uint uid, uint gid, long mtime, string target, string content, IEnumerable<KeyValuePair<string, byte[]>> xattrs) =>
        $"{path} {type} {mode} {uid}:{gid} mtime={mtime} '{target}' {content} "
        + string.Join(',', xattrs.Select(xattr => xattr.Key + "=" + Convert.ToHexString(xattr.Value)));
}

/// <summary>A directory that goes away with the test.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("buildkit-session-").FullName;

    public void Dispose() => LinuxDirectory.RemoveTree(Path);
}
