using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Storage.Layers;

namespace BuildKit.Worker.FileOps;

/// <summary>Expands shell-style paths in a tree (spec 02 §6.7 step 2).</summary>
internal static class Wildcards
{
    /// <summary>Matches in lexical order; the path itself when it has no pattern characters. Matched directories are not searched.</summary>
    internal static List<string> Expand(FileTree tree, string path, bool followLinks)
    {
        var (prefix, rest) = Split(path);
        if (rest.Length == 0)
            return [prefix];
        var start = tree.Resolve(prefix, followLinks);
        var glob = PathGlob.Parse(rest);
        var matches = new List<string>();
        if (tree.TryLstat(start, out var stat) && stat.IsDirectory)
            Search("", rest.Count(c => c == '/'));
        return matches;

        // A star never crosses a slash, so the pattern's depth bounds the search.
        void Search(string below, int depth)
        {
            foreach (var entry in LinuxDirectory.ReadSorted(tree.Root, FileTree.Name(FileTree.Join(start, below))))
            {
                var relative = FileTree.Join(below, entry.Name);
                if (glob.IsMatch(relative))
                    matches.Add(GoPath.Clean($"{prefix}/{relative}"));
                else if (depth > 0 && tree.TryLstat(FileTree.Join(start, relative), out var child) && child.IsDirectory)
                    Search(relative, depth - 1);
            }
        }
    }

    private static (string Prefix, string Pattern) Split(string path)
    {
        var parts = path.Split('/');
        for (var i = 0; i < parts.Length; i++)
        {
            if (HasPattern(parts[i]))
                return (string.Join('/', parts[..i]), string.Join('/', parts[i..]).TrimEnd('/'));
        }
        return (path, "");
    }

    private static bool HasPattern(string part)
    {
        for (var i = 0; i < part.Length; i++)
        {
            if (part[i] == '\\')
                i++;
            else if (part[i] is '*' or '?' or '[')
                return true;
        }
        return false;
    }
}
