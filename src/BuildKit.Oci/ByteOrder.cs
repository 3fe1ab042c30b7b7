namespace BuildKit.Oci;

/// <summary>Orders texts by their UTF-8 bytes, as sorted keys are in the documents of the ecosystem. Differs from
/// the ordinal order of UTF-16 only for characters outside the basic plane.</summary>
public sealed class ByteOrder : IComparer<string>
{
    /// <summary>The only instance.</summary>
    public static ByteOrder Instance { get; } = new();

    /// <inheritdoc/>
    public int Compare(string? x, string? y)
    {
        if (x is null || y is null)
            return (x is null ? 0 : 1) - (y is null ? 0 : 1);
        var common = Math.Min(x.Length, y.Length);
        for (var i = 0; i < common; i++)
        {
            if (x[i] == y[i])
                continue;
            // UTF-8 keeps the order of code points; surrogates stand for the highest ones.
            var (left, right) = (char.IsSurrogate(x[i]), char.IsSurrogate(y[i]));
            return left == right ? x[i].CompareTo(y[i]) : left ? 1 : -1;
        }
        return x.Length.CompareTo(y.Length);
    }
}
