using System.Globalization;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Pb;

namespace BuildKit.Daemon.Explaining;

/// <summary>
/// What differs between two operations, of that which enters cache keys (spec 03 §8), most telling first. The contents of
/// secrets and ssh agents, names of caches, proxies and addresses of hosts do not enter them and are left out.
/// </summary>
internal sealed class OperationDifferences
{
    private readonly List<Difference> _found = [];
    private readonly IReadOnlySet<string> _arguments;

    private OperationDifferences(IReadOnlySet<string> arguments) => _arguments = arguments;

    /// <summary>Compares two operations.</summary>
    /// <param name="before">The earlier one.</param>
    /// <param name="after">The one that ran.</param>
    /// <param name="arguments">Names of build arguments: environment variables that are spoken of as such.</param>
    public static IReadOnlyList<Difference> Between(Op before, Op after, IReadOnlySet<string> arguments)
    {
        var differences = new OperationDifferences(arguments);
        if (before.OpCase != after.OpCase)
            differences.Text("kind", "the kind of the step", before.OpCase.ToString(), after.OpCase.ToString());
        switch (after.OpCase == before.OpCase ? after.OpCase : Op.OpOneofCase.None)
        {
            case Op.OpOneofCase.Exec:
                differences.Exec(before.Exec, after.Exec);
                differences.Text("platform", "the platform", PlatformText(before.Platform), PlatformText(after.Platform));
                break;
            case Op.OpOneofCase.File:
                differences.File(before.File, after.File);
                break;
            case Op.OpOneofCase.Source:
                differences.Source(before.Source, after.Source);
                differences.Text("platform", "the platform", PlatformText(before.Platform), PlatformText(after.Platform));
                break;
            default:
                break;
        }
        return differences._found;
    }

    /// <summary>An image's name without its digest, in the short form people write; other identifiers as they are.</summary>
    public static string SourceName(string identifier)
    {
        const string image = "docker-image://";
        if (!identifier.StartsWith(image, StringComparison.Ordinal))
            return identifier;
        var name = identifier[image.Length..];
        var digest = name.IndexOf('@', StringComparison.Ordinal);
        if (digest > 0)
            name = name[..digest];
        return name.StartsWith("docker.io/library/", StringComparison.Ordinal) ? name["docker.io/library/".Length..]
            : name.StartsWith("docker.io/", StringComparison.Ordinal) ? name["docker.io/".Length..] : name;
    }

    private void Exec(ExecOp before, ExecOp after)
    {
        var (old, now) = (before.Meta ?? new Meta(), after.Meta ?? new Meta());
        Text("command", "its command", Command(old.Args), Command(now.Args));
        Environment(old.Env, now.Env);
        Text("cwd", "its working directory", old.Cwd, now.Cwd);
        Text("user", "its user", old.User, now.User);
        Text("network", "its network mode", Lower(before.Network), Lower(after.Network));
        Text("security", "its security mode", Lower(before.Security), Lower(after.Security));
        Text("hostname", "its host name", old.Hostname, now.Hostname);
        Set("host", "the extra host ", old.ExtraHosts.Select(h => h.Host), now.ExtraHosts.Select(h => h.Host));
        Map(
            "ulimit", "the limit ", old.Ulimit.ToLookup(u => u.Name, u => Invariant($"{u.Soft}:{u.Hard}")), now.Ulimit.ToLookup(u => u.Name, u => Invariant($"{u.Soft}:{u.Hard}")));
        Text("cgroup-parent", "its cgroup parent", old.CgroupParent, now.CgroupParent);
        Text("exit-codes", "the exit codes it may end with", string.Join(' ', old.ValidExitCodes), string.Join(' ', now.ValidExitCodes));
        Flag("mount-stubs", "whether mount points it makes are removed", old.RemoveMountStubsRecursive, now.RemoveMountStubsRecursive);
        Set("device", "the device ", before.CdiDevices.Select(d => d.Name), after.CdiDevices.Select(d => d.Name));
        Map("secret-variable", "the secret in the environment variable ", before.Secretenv.ToLookup(s => s.Name, s => s.ID), after.Secretenv.ToLookup(s => s.Name, s => s.ID));
        Mounts(before.Mounts, after.Mounts);
    }

    private void Environment(IEnumerable<string> before, IEnumerable<string> after)
    {
        var (old, now) = (Parse(before), Parse(after));
        foreach (var name in old.Keys.Union(now.Keys, StringComparer.Ordinal).OrderBy(name => _arguments.Contains(name) ? 0 : 1).ThenBy(name => name, StringComparer.Ordinal))
        {
            var isArgument = _arguments.Contains(name);
            One(isArgument ? "argument" : "environment", (isArgument ? "the build argument " : "the environment variable ") + name, old.GetValueOrDefault(name), now.GetValueOrDefault(name));
        }
        if (old.Count == now.Count && old.All(pair => now.GetValueOrDefault(pair.Key) == pair.Value) && !before.SequenceEqual(after, StringComparer.Ordinal))
            Add("environment", "the order of its environment variables", "changed", "", "");

        static Dictionary<string, string> Parse(IEnumerable<string> entries)
        {
            var values = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var entry in entries)
            {
                var parts = entry.Split('=', 2);
                values[parts[0]] = parts.Length > 1 ? parts[1] : "";
            }
            return values;
        }
    }

    private void Mounts(IReadOnlyList<Mount> before, IReadOnlyList<Mount> after)
    {
        foreach (var target in before.Concat(after).Select(mount => mount.Dest).Distinct(StringComparer.Ordinal))
        {
            var (old, now) = (before.FirstOrDefault(mount => mount.Dest == target), after.FirstOrDefault(mount => mount.Dest == target));
            var place = target == "/" ? "the root" : "the mount at " + target;
            if (old is null || now is null)
            {
                Add("mount", Subject(now ?? old!), old is null ? "added" : "removed", old is null ? "" : Lower(old.MountType), now is null ? "" : Lower(now.MountType));
                continue;
            }
            Text("mount-type", $"the type of {place}", Lower(old.MountType), Lower(now.MountType));
            Text("mount-source", $"the directory that {place} shows", old.Selector.Length == 0 ? "/" : old.Selector, now.Selector.Length == 0 ? "/" : now.Selector);
            Flag("mount-readonly", $"whether {place} is read-only", old.Readonly, now.Readonly);
            Text("mount-content", $"whether {place} counts by content", Lower(old.ContentCache), Lower(now.ContentCache));
            if (old.CacheOpt is not null && now.CacheOpt is not null)
                Text("cache-sharing", $"the sharing of the cache mount at {target}", Lower(old.CacheOpt.Sharing), Lower(now.CacheOpt.Sharing));
            if (old.SecretOpt is { } secretBefore && now.SecretOpt is { } secretNow)
            {
                Text("secret", $"the secret at {target}", secretBefore.ID, secretNow.ID);
                Text("secret-owner", $"owner and mode of the secret at {target}", Owner(secretBefore.Uid, secretBefore.Gid, secretBefore.Mode), Owner(secretNow.Uid, secretNow.Gid, secretNow.Mode));
                Flag("secret-optional", $"whether the secret at {target} may be missing", secretBefore.Optional, secretNow.Optional);
            }
            if (old.SSHOpt is { } sshBefore && now.SSHOpt is { } sshNow)
            {
                Text("ssh", $"the ssh agent at {target}", sshBefore.ID, sshNow.ID);
                Text("ssh-owner", $"owner and mode of the ssh agent at {target}", Owner(sshBefore.Uid, sshBefore.Gid, sshBefore.Mode), Owner(sshNow.Uid, sshNow.Gid, sshNow.Mode));
                Flag("ssh-optional", $"whether the ssh agent at {target} may be missing", sshBefore.Optional, sshNow.Optional);
            }
            Text("tmpfs-size", $"the size of the tmpfs at {target}", Number(old.TmpfsOpt?.Size ?? 0), Number(now.TmpfsOpt?.Size ?? 0));
        }
        string[] Order(IReadOnlyList<Mount> mounts) => [.. mounts.Select(mount => mount.Dest)];
        if (before.Count == after.Count && !Order(before).SequenceEqual(Order(after)) && Order(before).Order(StringComparer.Ordinal).SequenceEqual(Order(after).Order(StringComparer.Ordinal)))
            Add("mount", "the order of its mounts", "changed", "", "");

        static string Subject(Mount mount) => mount.MountType switch
        {
            MountType.Cache => "the cache mount at " + mount.Dest,
            MountType.Secret => "the secret at " + mount.Dest,
            MountType.Ssh => "the ssh agent at " + mount.Dest,
            MountType.Tmpfs => "the tmpfs at " + mount.Dest,
            _ => "the mount at " + mount.Dest,
        };
    }

    private void File(FileOp before, FileOp after)
    {
        if (before.Actions.Count != after.Actions.Count || !before.Actions.Select(a => a.ActionCase).SequenceEqual(after.Actions.Select(a => a.ActionCase)))
        {
            Text("actions", "what it does", Names(before), Names(after));
            return;
        }
        for (var i = 0; i < after.Actions.Count; i++)
        {
            var (old, now) = (before.Actions[i], after.Actions[i]);
            switch (now.ActionCase)
            {
                case FileAction.ActionOneofCase.Copy:
                    Copy(old.Copy, now.Copy);
                    break;
                case FileAction.ActionOneofCase.Mkfile:
                    Text("path", "the file it writes", old.Mkfile.Path, now.Mkfile.Path);
                    if (old.Mkfile.Data != now.Mkfile.Data)
                        Add("data", "the content it writes to " + now.Mkfile.Path, "changed", "", "");
                    Text("mode", "the mode of " + now.Mkfile.Path, Mode(old.Mkfile.Mode), Mode(now.Mkfile.Mode));
                    Text("owner", "the owner of " + now.Mkfile.Path, Owner(old.Mkfile.Owner), Owner(now.Mkfile.Owner));
                    Text("timestamp", "the time of " + now.Mkfile.Path, Number(old.Mkfile.Timestamp), Number(now.Mkfile.Timestamp));
                    break;
                case FileAction.ActionOneofCase.Mkdir:
                    Text("path", "the directory it makes", old.Mkdir.Path, now.Mkdir.Path);
                    Text("mode", "the mode of " + now.Mkdir.Path, Mode(old.Mkdir.Mode), Mode(now.Mkdir.Mode));
                    Flag("parents", $"whether parents of {now.Mkdir.Path} are made", old.Mkdir.MakeParents, now.Mkdir.MakeParents);
                    Text("owner", "the owner of " + now.Mkdir.Path, Owner(old.Mkdir.Owner), Owner(now.Mkdir.Owner));
                    Text("timestamp", "the time of " + now.Mkdir.Path, Number(old.Mkdir.Timestamp), Number(now.Mkdir.Timestamp));
                    break;
                case FileAction.ActionOneofCase.Rm:
                    Text("path", "what it removes", old.Rm.Path, now.Rm.Path);
                    Flag("missing", $"whether {now.Rm.Path} may be missing", old.Rm.AllowNotFound, now.Rm.AllowNotFound);
                    Flag("wildcard", $"whether {now.Rm.Path} is a pattern", old.Rm.AllowWildcard, now.Rm.AllowWildcard);
                    break;
                case FileAction.ActionOneofCase.Symlink:
                    Text("target", "what the link points to", old.Symlink.Oldpath, now.Symlink.Oldpath);
                    Text("path", "the link it makes", old.Symlink.Newpath, now.Symlink.Newpath);
                    Text("owner", "the owner of " + now.Symlink.Newpath, Owner(old.Symlink.Owner), Owner(now.Symlink.Owner));
                    Text("timestamp", "the time of " + now.Symlink.Newpath, Number(old.Symlink.Timestamp), Number(now.Symlink.Timestamp));
                    break;
                default:
                    break;
            }
        }
    }

    private void Copy(FileActionCopy old, FileActionCopy now)
    {
        Text("source", "the source it copies", old.Src, now.Src);
        Text("destination", "the destination", old.Dest, now.Dest);
        Text("owner", "the owner of the copies", Owner(old.Owner), Owner(now.Owner));
        Text("mode", "the mode of the copies", CopyMode(old), CopyMode(now));
        Set("include", "the pattern of files to take ", old.IncludePatterns, now.IncludePatterns);
        Set("exclude", "the pattern of files to leave out ", old.ExcludePatterns, now.ExcludePatterns);
        Flag("follow-links", "whether links are followed", old.FollowSymlink, now.FollowSymlink);
        Flag("directory-contents", "whether only what is in the directory is copied", old.DirCopyContents, now.DirCopyContents);
        Flag("unpack", "whether archives are unpacked", old.AttemptUnpackDockerCompatibility, now.AttemptUnpackDockerCompatibility);
        Flag("make-destination", "whether the destination is made", old.CreateDestPath, now.CreateDestPath);
        Flag("wildcard", "whether the source is a pattern", old.AllowWildcard, now.AllowWildcard);
        Flag("empty-wildcard", "whether nothing may match", old.AllowEmptyWildcard, now.AllowEmptyWildcard);
        Flag("replace", "whether what is in the way is replaced", old.AlwaysReplaceExistingDestPaths, now.AlwaysReplaceExistingDestPaths);
        Text("timestamp", "the time of the copies", Number(old.Timestamp), Number(now.Timestamp));
    }

    private void Source(SourceOp before, SourceOp after)
    {
        Text("identifier", "the source", SourceName(before.Identifier), SourceName(after.Identifier));
        foreach (var name in before.Attrs.Keys.Union(after.Attrs.Keys, StringComparer.Ordinal).Where(name => !name.StartsWith("local.", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
            One("attribute", $"the attribute {name}", before.Attrs.TryGetValue(name, out var old) ? old : null, after.Attrs.TryGetValue(name, out var now) ? now : null);
    }

    private static string Names(FileOp file) => string.Join(", ", file.Actions.Select(action => Lower(action.ActionCase)));

    private static string Command(IReadOnlyList<string> arguments) =>
        arguments is ["/bin/sh", "-c", var script] ? script : string.Join(' ', arguments);

    private static string PlatformText(Platform? platform) => platform is null
        ? ""
        : $"{platform.OS}/{platform.Architecture}{(platform.Variant.Length > 0 ? "/" + platform.Variant : "")}";

    private static string CopyMode(FileActionCopy copy) => copy.ModeStr.Length > 0 ? copy.ModeStr : Mode(copy.Mode);

    private static string Mode(int mode) => mode < 0 ? "" : "0" + Convert.ToString(mode & 0xFFF, 8);

    private static string Owner(ChownOpt? owner) => owner is null ? "" : $"{User(owner.User)}:{User(owner.Group)}";

    private static string User(UserOpt? user) => user?.UserCase switch
    {
        UserOpt.UserOneofCase.ByName => user.ByName.Name,
        UserOpt.UserOneofCase.ByID => Number(user.ByID),
        _ => "",
    };

    private static string Owner(uint user, uint group, uint mode) => Invariant($"{user}:{group} 0{Convert.ToString(mode, 8)}");

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Lower<T>(T value)
        where T : struct, Enum => Enum.GetName(value)?.ToLowerInvariant() ?? "";

    private void Set(string field, string subject, IEnumerable<string> before, IEnumerable<string> after)
    {
        List<string> old = [.. before], now = [.. after];
        foreach (var item in old.Union(now, StringComparer.Ordinal))
        {
            if (!now.Contains(item))
                Add(field, subject + item, "removed", "", "");
            else if (!old.Contains(item))
                Add(field, subject + item, "added", "", "");
        }
    }

    private void Map(string field, string subject, ILookup<string, string> before, ILookup<string, string> after)
    {
        foreach (var name in before.Select(group => group.Key).Union(after.Select(group => group.Key), StringComparer.Ordinal))
            One(field, subject + name, before[name].FirstOrDefault(), after[name].FirstOrDefault());
    }

    private void One(string field, string subject, string? before, string? after)
    {
        if (before == after)
            return;
        Add(field, subject, before is null ? "added" : after is null ? "removed" : "changed", before ?? "", after ?? "");
    }

    private void Flag(string field, string subject, bool before, bool after)
    {
        if (before != after)
            Add(field, subject, "changed", before ? "yes" : "no", after ? "yes" : "no");
    }

    private void Text(string field, string subject, string before, string after)
    {
        if (before != after)
            Add(field, subject, "changed", before, after);
    }

    private void Add(string field, string subject, string change, string before, string after) =>
        _found.Add(new Difference { Field = field, Subject = subject, Change = change, Before = before, After = after });
}
