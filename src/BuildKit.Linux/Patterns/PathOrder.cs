namespace BuildKit.Linux.Patterns;

/// <summary>The order in which a tree is walked and sent.</summary>
public static class PathOrder
{
    /// <summary>
    /// Bytewise, but the separator is lower than every other byte: a directory is followed at once by what is
    /// in it (<c>sub</c>, <c>sub/b</c>, <c>sub-x</c>; spec 01 §5.5).
    /// </summary>
    public static int Compare(string a, string b)
    {
        var same = a.AsSpan().CommonPrefixLength(b);
        if (same == a.Length || same == b.Length)
            return a.Length - b.Length;
        if (a[same] == '/')
            return -1;
        return b[same] == '/' ? 1 : LinuxText.CompareBytes(a, b);
    }
}
