using System.Text;

namespace BuildKit.Llb;

/// <summary>Orders strings by their UTF-8 bytes, the order in which maps and mounts are written.</summary>
public sealed class Utf8Order : IComparer<string>
{
    /// <summary>The comparer.</summary>
    public static Utf8Order Instance { get; } = new();

    private Utf8Order()
    {
    }

    /// <inheritdoc/>
    public int Compare(string? x, string? y)
    {
        if (x is null || y is null)
            return x is null ? (y is null ? 0 : -1) : 1;
        var at = x.AsSpan().CommonPrefixLength(y);
        if (at == x.Length || at == y.Length)
            return x.Length - y.Length;

        // UTF-16 code units order like UTF-8 bytes except that surrogates stand for the highest code points.
        var (a, b) = (x[at], y[at]);
        if (char.IsSurrogate(a) == char.IsSurrogate(b))
            return a - b;
        return char.IsSurrogate(a) ? 1 : -1;
    }
}
