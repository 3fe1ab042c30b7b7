using System.Globalization;
using BuildKit.Linux;
using BuildKit.Protocol.Pb;

namespace BuildKit.Worker.FileOps;

/// <summary>Owner and group given to new files.</summary>
public readonly record struct FileOwner(uint Uid, uint Gid)
{
    /// <summary>The owner an action asks for, or null when it asks for none (spec 02 §6.2).</summary>
    /// <param name="owner">The action's owner option.</param>
    /// <param name="rootOfInput">Directory where the tree with an input index is mounted, for names.</param>
    public static FileOwner? Resolve(ChownOpt? owner, Func<long, string> rootOfInput)
    {
        if (owner is null)
            return null;
        var (uid, gid) = (0u, 0u);
        switch (owner.User?.UserCase)
        {
            case UserOpt.UserOneofCase.ByID:
                uid = gid = owner.User.ByID;
                break;
            case UserOpt.UserOneofCase.ByName when owner.User.ByName.Input < 0:
                throw new InvalidOperationException($"invalid user index: {owner.User.ByName.Input}");
            case UserOpt.UserOneofCase.ByName:
                var user = Lookup(rootOfInput(owner.User.ByName.Input), "/etc/passwd", owner.User.ByName.Name, idField: 2, gidField: 3);
                (uid, gid) = user ?? (0, 0);
                break;
        }
        switch (owner.Group?.UserCase)
        {
            case UserOpt.UserOneofCase.ByID:
                gid = owner.Group.ByID;
                break;
            case UserOpt.UserOneofCase.ByName when owner.Group.ByName.Input < 0:
                throw new InvalidOperationException($"invalid user index: {owner.Group.ByName.Input}");
            case UserOpt.UserOneofCase.ByName:
                gid = Lookup(rootOfInput(owner.Group.ByName.Input), "/etc/group", owner.Group.ByName.Name, idField: 2, gidField: 2)?.Id ?? gid;
                break;
        }
        return new FileOwner(uid, gid);
    }

    /// <summary>The first line of a name in a file of the tree; a missing file has no lines, a damaged line is passed over.</summary>
    private static (uint Id, uint Gid)? Lookup(string root, string path, string name, int idField, int gidField)
    {
        const int MaxSize = 10 << 20;
        using var handle = LinuxFile.OpenDirectory(root);
        var errno = RootedPath.TryOpen(handle, path, OpenFlags.ReadOnly | OpenFlags.NonBlocking | OpenFlags.NoControllingTerminal, out var opened);
        if (errno is Errno.ENOENT or Errno.ENOTDIR)
            return null;
        if (errno != Errno.None)
            throw new LinuxException(errno, "open", path);
        using var file = opened!;
        var stat = LinuxFile.Stat(file);
        if (!stat.IsRegular || stat.Size > MaxSize)
            return null;
        using var reader = new StreamReader(new FileStream(file, FileAccess.Read));
        while (reader.ReadLine() is { } line)
        {
            var fields = line.Trim().Split(':');
            if (fields.Length > gidField && fields[0] == name
                && uint.TryParse(fields[idField], NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                && uint.TryParse(fields[gidField], NumberStyles.None, CultureInfo.InvariantCulture, out var gid))
                return (id, gid);
        }
        return null;
    }
}
