using System.Globalization;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.Worker.Executor;

/// <summary>Finds the ids behind a user as a Dockerfile names it, in the container's own files (spec 06 §6.4).</summary>
public static class UserLookup
{
    /// <summary>Larger files are no user files; also protects from devices and endless pipes in a root.</summary>
    private const long MaxFileSize = 10 * 1024 * 1024;

    private const long MaxId = 2147483647;

    /// <summary>The ids of <paramref name="user"/> (<c>name</c>, <c>uid</c>, <c>name:group</c>, …) inside a root.</summary>
    /// <exception cref="InvalidOperationException">No such user or group; the text is the reference's.</exception>
    public static ProcessUser Find(string root, string user)
    {
        if (user.Length == 0)
            return FindOrRoot(root);
        if (BothNumeric(user) is { } numeric)
            return numeric;
        return Search(user, ReadLines(root, "/etc/passwd"), ReadLines(root, "/etc/group"));
    }

    /// <summary>The home directory of a user inside a root, <c>/</c> when the user files name none. Runtimes differ in
    /// what they set when there is none (crun: nothing), so it is not left to them.</summary>
    public static string Home(string root, uint uid)
    {
        try
        {
            var entry = ReadLines(root, "/etc/passwd").FirstOrDefault(fields => fields.Length > 5 && ParseId(fields[2]) == uid);
            return entry is { } found && found[5].Length > 0 ? found[5] : "/";
        }
        catch (IOException)
        {
            return "/"; // no file that can be read
        }
    }

    private static ProcessUser FindOrRoot(string root)
    {
        try
        {
            return Search("0", ReadLines(root, "/etc/passwd"), ReadLines(root, "/etc/group"));
        }
        catch (Exception exception) when (exception is InvalidOperationException or IOException)
        {
            // A step that names no user runs as root even where the user files say otherwise or cannot be read.
            return new ProcessUser(0, 0, []);
        }
    }

    private static ProcessUser? BothNumeric(string user)
    {
        var parts = user.Split(':');
        return parts.Length == 2 && Numeric(parts[0]) is { } uid && Numeric(parts[1]) is { } gid
            ? new ProcessUser(uid, gid, [gid])
            : null;

        static uint? Numeric(string text) => text == "root" ? 0
            : uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : null;
    }

    private static ProcessUser Search(string user, IReadOnlyList<string[]> passwd, IReadOnlyList<string[]> groups)
    {
        var colon = user.IndexOf(':', StringComparison.Ordinal);
        var userPart = colon < 0 ? user : user[..colon];
        var groupPart = colon < 0 ? "" : user[(colon + 1)..];
        var userId = ParseId(userPart);
        long uid = 0, gid = 0;
        string? matched = null;
        foreach (var entry in passwd)
        {
            if (entry.Length < 4 || ParseId(entry[2]) is not { } entryUid)
                continue;
            if (userId is { } wanted ? entryUid != wanted : entry[0] != userPart)
                continue;
            (uid, gid, matched) = (entryUid, ParseId(entry[3]) ?? 0, entry[0]);
            break;
        }
        if (matched is null)
            uid = userId ?? throw new InvalidOperationException($"unable to find user {userPart}: no matching entries in passwd file");

        var additional = new List<uint>();
        if (groupPart.Length > 0)
            gid = FindGroup(groupPart, groups);
        else if (matched is not null)
            foreach (var entry in groups)
                if (entry.Length >= 4 && ParseId(entry[2]) is { } id && entry[3].Split(',').Contains(matched))
                    additional.Add((uint)CheckRange(id));

        var primary = (uint)CheckRange(gid);
        if (!additional.Contains(primary))
            additional.Insert(0, primary);
        return new ProcessUser((uint)CheckRange(uid), primary, additional);
    }

    private static long FindGroup(string group, IReadOnlyList<string[]> groups)
    {
        var groupId = ParseId(group);
        foreach (var entry in groups)
            if (entry.Length >= 3 && ParseId(entry[2]) is { } id && (groupId is { } wanted ? id == wanted : entry[0] == group))
                return id;
        return groupId ?? throw new InvalidOperationException($"unable to find group {group}: no matching entries in group file");
    }

    private static long CheckRange(long id) => id is >= 0 and <= MaxId
        ? id
        : throw new InvalidOperationException($"uids and gids must be in range 0-{MaxId}");

    private static long? ParseId(string text) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var id) ? id : null;

    private static List<string[]> ReadLines(string root, string path)
    {
        using var rootHandle = LinuxFile.Open(root, OpenFlags.PathOnly | OpenFlags.Directory);
        if (RootedPath.TryOpen(rootHandle, path, OpenFlags.ReadOnly | OpenFlags.NonBlocking, out var file) != Errno.None || file is null)
            return [];
        using (file)
        {
            var stat = LinuxFile.Stat(file);
            if (!stat.IsRegular || stat.Size > MaxFileSize)
                return [];
            using var reader = new StreamReader(new FileStream(file, FileAccess.Read), Encoding.UTF8);
            var lines = new List<string[]>();
            while (reader.ReadLine() is { } line)
                if (line.Length > 0 && line[0] != '#')
                    lines.Add(line.Trim().Split(':'));
            return lines;
        }
    }
}
