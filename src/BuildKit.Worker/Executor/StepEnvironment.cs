namespace BuildKit.Worker.Executor;

/// <summary>Puts the environment of a process together (spec 06 §6.2 "env order").</summary>
public static class StepEnvironment
{
    /// <summary>Where programs are looked for when a step says nothing.</summary>
    public const string DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>Later values win, at the first position of the name; an entry without <c>=</c> removes the name.</summary>
    public static IReadOnlyList<string> Merge(IEnumerable<string> entries)
    {
        var merged = new List<string?>();
        var index = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var entry in entries)
        {
            var equals = entry.IndexOf('=', StringComparison.Ordinal);
            var name = equals < 0 ? entry : entry[..equals];
            var value = equals < 0 ? null : entry;
            if (index.TryGetValue(name, out var at))
            {
                merged[at] = value;
                if (value is null)
                    index.Remove(name);
            }
            else if (value is not null)
            {
                index.Add(name, merged.Count);
                merged.Add(value);
            }
        }
        return [.. merged.Where(entry => entry is not null).Select(entry => entry!)];
    }

    /// <summary>Whether any entry sets a variable.</summary>
    public static bool Sets(IEnumerable<string> entries, string name) =>
        entries.Any(entry => entry.StartsWith(name + "=", StringComparison.Ordinal));
}
