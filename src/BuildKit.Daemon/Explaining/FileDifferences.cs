using System.Globalization;
using BuildKit.Linux;
using BuildKit.Protocol.Explain;
using BuildKit.Storage.Checksums;

namespace BuildKit.Daemon.Explaining;

/// <summary>Which files differ between two lists, in the order of their paths.</summary>
internal static class FileDifferences
{
    /// <summary>Changes told one by one; the others are counted.</summary>
    public const int MostTold = 20;

    /// <summary>Compares two lists.</summary>
    /// <param name="before">Files of the earlier result.</param>
    /// <param name="after">Files of the one that ran.</param>
    /// <param name="onlyModeChanged">Whether a file whose mode or owner differs has the same content: told its path, what it
    /// was and its former mark. Null when its content is not at hand.</param>
    public static async Task<Files> BetweenAsync(ContentListing before, ContentListing after, Func<ContentEntry, Task<bool>>? onlyModeChanged)
    {
        var files = new Files { Partial = before.IsCut || after.IsCut };
        using var old = before.Entries.GetEnumerator();
        using var now = after.Entries.GetEnumerator();
        bool hasOld = old.MoveNext(), hasNow = now.MoveNext();
        var told = new HashSet<string>(StringComparer.Ordinal);
        while (hasOld || hasNow)
        {
            var order = !hasOld ? 1 : !hasNow ? -1 : LinuxText.ByteOrder.Compare(old.Current.Path, now.Current.Path);
            var (was, became) = (order <= 0 ? old.Current : (ContentEntry?)null, order >= 0 ? now.Current : (ContentEntry?)null);
            if (order <= 0)
                hasOld = old.MoveNext();
            if (order >= 0)
                hasNow = now.MoveNext();
            var path = (became ?? was)!.Value.Path;
            // What is in a directory that came or went is told with the directory.
            var isTold = path.Length > 0 && told.Contains(path[..path.LastIndexOf('/')]);
            if (isTold && (became ?? was) is { Kind: ContentKind.Directory } && (was is null || became is null))
                told.Add(path);
            if (isTold)
                continue;
            if (was is { } a && became is { } b && a.Mark == b.Mark && a.Kind == b.Kind)
                continue;
            files.Total++;
            var change = was is null ? "added" : became is null ? "removed" : "modified";
            if (change != "modified" && (became ?? was) is { Kind: ContentKind.Directory })
                told.Add(path);
            if (files.Changes.Count >= MostTold)
                continue;
            var one = new FileChange { Path = Shown((became ?? was)!.Value), Change = change };
            if (was is { } earlier && became is { } later)
                one.What.AddRange(await WhatAsync(earlier, later, onlyModeChanged));
            files.Changes.Add(one);
        }
        return files;
    }

    private static string Shown(ContentEntry entry)
    {
        var path = entry.Path.TrimStart('/');
        return path.Length == 0 ? "." : entry.Kind == ContentKind.Directory ? path + "/" : path;
    }

    private static async Task<IReadOnlyList<Difference>> WhatAsync(ContentEntry was, ContentEntry became, Func<ContentEntry, Task<bool>>? onlyModeChanged)
    {
        if (was.Kind != became.Kind)
            return [new Difference { Field = "kind", Subject = "kind", Change = "changed", Before = Name(was.Kind), After = Name(became.Kind) }];
        if (became.IsWhole || was.IsWhole)
            return [new Difference { Field = "inside", Subject = "something in it", Change = "changed" }];
        var what = new List<Difference>();
        if (was.Stat is not { } old || became.Stat is not { } now)
            return became.Kind == ContentKind.Directory ? [Of("mode", "mode or owner")] : [Of("content", "content")];
        if ((old.Mode & UnixMode.PermissionMask) != (now.Mode & UnixMode.PermissionMask))
            what.Add(Of("mode", "mode", Octal(old.Mode), Octal(now.Mode)));
        if (old.Uid != now.Uid)
            what.Add(Of("owner", "owner", Number(old.Uid), Number(now.Uid)));
        if (old.Gid != now.Gid)
            what.Add(Of("group", "group", Number(old.Gid), Number(now.Gid)));
        if (became.Kind == ContentKind.Symlink)
            what.Insert(0, Of("target", "target"));
        else if (became.Kind == ContentKind.Directory)
            return what.Count > 0 ? what : [Of("attributes", "attributes")];
        else if (old.Size != now.Size || what.Count == 0)
            what.Insert(0, Of("content", "content"));
        else if (onlyModeChanged is null)
            what.Add(Of("content", "perhaps content"));
        else if (!await onlyModeChanged(was with { Path = became.Path }))
            what.Insert(0, Of("content", "content"));
        return what;

        static Difference Of(string field, string subject, string before = "", string after = "") =>
            new() { Field = field, Subject = subject, Change = "changed", Before = before, After = after };
    }

    private static string Name(ContentKind kind) => kind switch
    {
        ContentKind.Directory => "directory",
        ContentKind.Symlink => "link",
        _ => "file",
    };

    private static string Octal(uint mode) => "0" + Convert.ToString(mode & UnixMode.PermissionMask, 8);

    private static string Number(uint number) => number.ToString(CultureInfo.InvariantCulture);
}
