using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Text;

/// <summary>Finds what a mistyped word may have meant (spec 05 §2.6).</summary>
public static class Suggestion
{
    private const int MaxDistance = 3;

    /// <summary>The nearest option less than three edits away; null when there is none or the value is one of
    /// the options.</summary>
    /// <param name="value">The word as written.</param>
    /// <param name="options">What it could have been.</param>
    /// <param name="caseSensitive">Whether case counts; if not, the answer takes the case of the value.</param>
    public static string? Search(string value, IEnumerable<string> options, bool caseSensitive)
    {
        var wanted = caseSensitive ? value : value.ToLowerInvariant();
        var best = MaxDistance;
        string? match = null;
        foreach (var given in options)
        {
            var option = caseSensitive ? given : given.ToLowerInvariant();
            if (string.Equals(wanted, option, StringComparison.Ordinal))
                return null;
            var distance = Distance(wanted, option, best);
            if (distance < best)
            {
                best = distance;
                match = option;
            }
        }
        if (match is null || caseSensitive)
            return match;
        if (string.Equals(value, value.ToUpperInvariant(), StringComparison.Ordinal))
            return match.ToUpperInvariant();
        return match;
    }

    /// <summary>Adds the suggestion to a message.</summary>
    public static string Append(string message, string value, IEnumerable<string> options, bool caseSensitive) =>
        Search(value, options, caseSensitive) is { } match ? $"{message} (did you mean {match}?)" : message;

    /// <summary>An error whose message carries the suggestion.</summary>
    internal static DockerfileException Error(string message, string value, IEnumerable<string> options, bool caseSensitive = true) =>
        new(Append(message, value, options, caseSensitive));

    private static int Distance(string a, string b, int limit)
    {
        var left = a.EnumerateRunes().ToArray();
        var right = b.EnumerateRunes().ToArray();
        if (Math.Abs(left.Length - right.Length) >= limit)
            return limit;
        var previous = new int[right.Length + 1];
        var current = new int[right.Length + 1];
        for (var j = 0; j <= right.Length; j++)
            previous[j] = j;
        for (var i = 1; i <= left.Length; i++)
        {
            current[0] = i;
            for (var j = 1; j <= right.Length; j++)
            {
                var substitute = previous[j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1);
                current[j] = Math.Min(substitute, Math.Min(previous[j], current[j - 1]) + 1);
            }
            (previous, current) = (current, previous);
        }
        return previous[right.Length];
    }
}
