using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.FileOps;

namespace BuildKit.IntegrationTests.FileOps;

/// <summary>The definitions of the golden set <c>fileops</c> that need nothing but files, run action by action on plain directories.</summary>
public sealed class FileOperationsGoldenTests
{
    public static TheoryData<string> Cases()
    {
        return Golden.Index("fileops", "cases")
            .Where(c => c.GetProperty("kind").GetString() == "llb" && Golden.List(Golden.Path("fileops", "cases", c.GetProperty("name").GetString() + ".json"), "ops").All(OnlyFiles))
            .Names();

        static bool OnlyFiles(JsonElement op) =>
            op.TryGetProperty("file", out _) || (op.TryGetProperty("source", out var source) && source.GetProperty("identifier").GetString() == "local://context"
                && (!source.TryGetProperty("attrs", out var attrs) || attrs.EnumerateObject().All(a => a.Name == "local.sharedkeyhint")));
    }

    [RequiresGoldenTheory("root", "cp")]
    [MemberData(nameof(Cases))]
    public async Task File_actions_leave_on_disk_what_the_reference_leaves(string name)
    {
        using var json = JsonDocument.Parse(await File.ReadAllBytesAsync(Golden.Path("fileops", "cases", name + ".json")));
        var golden = json.RootElement;
        var expected = golden.GetProperty("expected");
        using var temp = new TempDirectory();
        var context = temp.Sub("context");
        if (golden.TryGetProperty("contexts", out var contexts) && contexts.TryGetProperty("context", out var entries))
            FileOpsTree.Create(context, entries);
        var runner = new Runner(temp, context, Definition.Parser.ParseFrom(golden.GetProperty("definition").GetBytesFromBase64()));
        if (!expected.TryGetProperty("error", out var error))
        {
            Assert.Equal(FileOpsTree.Expected(expected), FileOpsTree.Describe(await runner.RunAsync(), expected));
            return;
        }
        var message = error.GetProperty("message").GetString()!;
        if (message.Contains("failed to compute cache key", StringComparison.Ordinal) || message.Contains("failed to load", StringComparison.Ordinal) || message.Contains("API capability", StringComparison.Ordinal))
            return; // found before any action runs
        var failure = await Assert.ThrowsAnyAsync<Exception>(runner.RunAsync);
        Assert.Equal(message, "failed to solve: " + failure.Message.Replace(runner.Current, "@ROOT@", StringComparison.Ordinal));
    }

    private sealed class Runner(TempDirectory temp, string context, Definition definition)
    {
        private readonly Dictionary<string, Dictionary<long, string>> _results = new(StringComparer.Ordinal);
        private int _trees;

        internal string Current { get; private set; } = "";

        internal async Task<string> RunAsync()
        {
            Op? last = null;
            foreach (var bytes in definition.Def)
            {
                last = Op.Parser.ParseFrom(bytes);
                var outputs = new Dictionary<long, string>();
                if (last.OpCase == Op.OpOneofCase.File)
                    await RunAsync(last, outputs);
                else if (last.OpCase == Op.OpOneofCase.Source)
                    outputs[0] = context;
                _results[Digest.Sha256(bytes.Span).ToString()] = outputs;
            }
            return _results[last!.Inputs[0].Digest][last.Inputs[0].Index];
        }

        private async Task RunAsync(Op op, Dictionary<long, string> outputs)
        {
            var trees = op.Inputs.Select(i => _results[i.Digest][i.Index]).ToList();
            foreach (var action in op.File.Actions)
            {
                var root = Current = Copy(action.Input);
                switch (action.ActionCase)
                {
                    case FileAction.ActionOneofCase.Mkdir:
                        FileOperations.Mkdir(root, action.Mkdir, FileOwner.Resolve(action.Mkdir.Owner, Tree));
                        break;
                    case FileAction.ActionOneofCase.Mkfile:
                        await FileOperations.MkfileAsync(root, action.Mkfile, FileOwner.Resolve(action.Mkfile.Owner, Tree), CancellationToken.None);
                        break;
                    case FileAction.ActionOneofCase.Symlink:
                        FileOperations.Symlink(root, action.Symlink, FileOwner.Resolve(action.Symlink.Owner, Tree));
                        break;
                    case FileAction.ActionOneofCase.Rm:
                        FileOperations.Remove(root, action.Rm);
                        break;
                    default:
                        await FileOperations.CopyAsync(root, Tree(action.SecondaryInput), action.Copy, FileOwner.Resolve(action.Copy.Owner, Tree), CancellationToken.None);
                        break;
                }
                trees.Add(root);
                if (action.Output >= 0)
                    outputs[action.Output] = root;
            }

            string Tree(long index) => index < 0 ? temp.Sub($"t{_trees++}") : trees[(int)index];

            string Copy(long index)
            {
                if (index < 0)
                    return Tree(index);
                var copy = $"{temp.Path}/t{_trees++}";
                using var cp = Process.Start("cp", ["-a", trees[(int)index], copy]);
                cp.WaitForExit();
                Assert.Equal(0, cp.ExitCode);
                return copy;
            }
        }
    }
}

/// <summary>Trees of the golden set <c>fileops</c>.</summary>
internal static class FileOpsTree
{
    internal static void Create(string root, JsonElement entries)
    {
        using var dir = LinuxFile.OpenDirectory(root);
        var list = entries.EnumerateArray().ToList();
        foreach (var entry in list)
        {
            var path = entry.GetProperty("path").GetString()!;
            var type = entry.GetProperty("type").GetString();
            var target = entry.TryGetProperty("target", out var t) ? t.GetString()! : "";
            switch (type)
            {
                case "dir":
                    if (path != ".")
                        LinuxFile.Mkdir(dir, path, 0x1C0);
                    break;
                case "file":
                    using (var file = LinuxFile.Open(dir, path, OpenFlags.WriteOnly | OpenFlags.Create, 0x180))
                        RandomAccess.Write(file, entry.TryGetProperty("text", out var text) ? System.Text.Encoding.UTF8.GetBytes(text.GetString()!) : entry.GetProperty("base64").GetBytesFromBase64(), 0);
                    break;
                case "symlink":
                    LinuxFile.Symlink(target, dir, path);
                    break;
                case "hardlink":
                    LinuxFile.Link(dir, target, dir, path);
                    continue;
                default:
                    LinuxFile.Mknod(dir, path, (type == "fifo" ? UnixMode.Fifo : UnixMode.Char) | 0x180, Number("major"), Number("minor"));
                    break;
            }
            if (entry.TryGetProperty("xattrs", out var xattrs))
            {
                foreach (var attribute in xattrs.EnumerateObject())
                    Assert.Equal(Errno.None, Xattr.TrySet(dir, path, attribute.Name, attribute.Value.GetBytesFromBase64()));
            }
            if (type != "symlink" && entry.TryGetProperty("mode", out var mode))
                LinuxFile.Chmod(dir, path, Convert.ToUInt32(mode.GetString(), 8));

            uint Number(string name) => entry.TryGetProperty(name, out var n) ? n.GetUInt32() : 0;
        }
        foreach (var entry in list.AsEnumerable().Reverse().Where(e => e.TryGetProperty("mtime", out _)))
        {
            var time = entry.GetProperty("mtime");
            var parts = (time.ValueKind == JsonValueKind.String ? time.GetString()! : time.GetRawText()).Split('.');
            var mtime = new UnixTime(long.Parse(parts[0], CultureInfo.InvariantCulture), parts.Length > 1 ? int.Parse(parts[1].PadRight(9, '0'), CultureInfo.InvariantCulture) : 0);
            LinuxFile.SetTimes(dir, entry.GetProperty("path").GetString()!, mtime, mtime);
        }
    }

    internal static List<string> Expected(JsonElement expected)
    {
        var lines = new List<string>();
        var links = expected.GetProperty("tree").EnumerateArray().Where(e => e.TryGetProperty("hardlinkOf", out _)).Select(e => e.GetProperty("hardlinkOf").GetString()!).ToHashSet(StringComparer.Ordinal);
        foreach (var e in expected.GetProperty("tree").EnumerateArray())
        {
            var path = e.GetProperty("path").GetString()!;
            var mtime = e.GetProperty("mtime").ValueKind == JsonValueKind.String ? e.GetProperty("mtime").GetString()! : e.GetProperty("mtime").GetRawText();
            var link = e.TryGetProperty("hardlinkOf", out var h) ? h.GetString()! : links.Contains(path) ? path : "";
            var body = e.TryGetProperty("sha256", out var sha) ? sha.GetString() : e.TryGetProperty("target", out var target) ? target.GetString() : "";
            lines.Add($"{path}|{e.GetProperty("type").GetString()}|{e.GetProperty("mode").GetString()}|{e.GetProperty("uid").GetInt64()}:{e.GetProperty("gid").GetInt64()}|{(mtime == "epoch" ? "0" : mtime)}|{body}|{link}");
        }
        return [.. lines.Order(StringComparer.Ordinal)];
    }

    internal static List<string> Describe(string root, JsonElement expected)
    {
        var built = expected.GetProperty("tree").EnumerateArray().Where(e => e.GetProperty("mtime").ValueKind == JsonValueKind.String && e.GetProperty("mtime").GetString() == "build")
            .Select(e => e.GetProperty("path").GetString()!).ToHashSet(StringComparer.Ordinal);
        var lines = new List<string>();
        var first = new Dictionary<ulong, string>();
        using var dir = LinuxFile.OpenDirectory(root);
        Add("");
        return [.. lines.Order(StringComparer.Ordinal)];

        void Add(string directory)
        {
            foreach (var entry in LinuxDirectory.ReadSorted(dir, directory.Length == 0 ? "." : directory))
            {
                var path = directory.Length == 0 ? entry.Name : $"{directory}/{entry.Name}";
                var stat = LinuxFile.Lstat(dir, path);
                var type = stat.Type switch
                {
                    UnixMode.Directory => "dir",
                    UnixMode.Regular => "file",
                    UnixMode.Symlink => "symlink",
                    UnixMode.Fifo => "fifo",
                    UnixMode.Char => "chardev",
                    _ => "blockdev",
                };
                var body = type switch
                {
                    "file" => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(LinuxFile.ProcPath(dir, path)))),
                    "symlink" => LinuxFile.ReadLink(dir, path),
                    _ => "",
                };
                var link = "";
                if (stat.Links > 1 && type != "dir")
                    link = first.TryGetValue(stat.Inode, out var name) ? name : first[stat.Inode] = path;
                var mtime = built.Contains(path) ? "build" : (stat.Mtime.Seconds + (stat.Mtime.Nanoseconds >= 500_000_000 ? 1 : 0)).ToString(CultureInfo.InvariantCulture);
                lines.Add($"{path}|{type}|{Convert.ToString(stat.Permissions, 8).PadLeft(4, '0')}|{stat.Uid}:{stat.Gid}|{mtime}|{body}|{link}");
                if (type == "dir")
                    Add(path);
            }
        }
    }
}
