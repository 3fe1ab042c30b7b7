using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Lint;

/// <summary>One violation of a rule.</summary>
/// <param name="Rule">The rule.</param>
/// <param name="Message">What is wrong here.</param>
/// <param name="Location">Where; may be empty.</param>
public sealed record LintWarning(LintRule Rule, string Message, IReadOnlyList<SourceRange> Location)
{
    /// <summary>The one-line form clients show.</summary>
    public string Short => Location is [var first, ..] && first.StartLine > 0
        ? $"{Rule.Name}: {Message} (line {first.StartLine})"
        : $"{Rule.Name}: {Message}";
}

/// <summary>What is checked and how violations count (spec 05 §11.1).</summary>
public sealed record LintOptions
{
    /// <summary>Experimental rules switched on; null for all.</summary>
    public IReadOnlyList<string>? ExperimentalRules { get; init; } = [];

    /// <summary>Rules switched off; null for all. Experimental rules are not touched.</summary>
    public IReadOnlyList<string>? SkippedRules { get; init; } = [];

    /// <summary>Whether a violation fails the build.</summary>
    public bool ReturnAsError { get; init; }

    /// <summary>Parses <c>skip=…;experimental=…;error=…</c>.</summary>
    /// <exception cref="DockerfileException">An option is unknown or malformed.</exception>
    public static LintOptions Parse(string text)
    {
        var options = new LintOptions();
        text = text.Trim();
        if (text.Length == 0)
            return options;
        foreach (var part in text.Split(';', 3))
        {
            var equal = part.IndexOf('=', StringComparison.Ordinal);
            if (equal < 0)
                throw new DockerfileException($"invalid check option {GoQuote.Quote(part)}");
            var value = part[(equal + 1)..].Trim();
            options = part[..equal].Trim() switch
            {
                "skip" => options with { SkippedRules = Rules(value) },
                "experimental" => options with { ExperimentalRules = Rules(value) },
                "error" => options with
                {
                    ReturnAsError = GoNumber.ParseBool(value)
                        ?? throw new DockerfileException($"failed to parse check option {GoQuote.Quote(part)}: strconv.ParseBool: parsing {GoQuote.Quote(value)}: invalid syntax"),
                },
                var key => throw new DockerfileException($"invalid check option {GoQuote.Quote(key)}"),
            };
        }
        return options;
    }

    private static string[]? Rules(string value) => value is "all" ? null : value.Split(',', StringSplitOptions.TrimEntries);
}

/// <summary>Reports violations to a receiver. Without a receiver nothing is checked, and
/// <see cref="LintOptions.ReturnAsError"/> has no effect.</summary>
public sealed class Linter(LintOptions options, Action<LintWarning>? receiver)
{
    private readonly List<string> _violated = [];

    /// <summary>A linter that reports nothing.</summary>
    public static Linter Silent { get; } = new(new LintOptions(), null);

    /// <summary>Reports a violation unless its rule is off.</summary>
    public void Report(LintRule rule, string message, IReadOnlyList<SourceRange> location)
    {
        if (receiver is null || !IsOn(rule))
            return;
        if (!_violated.Contains(rule.Name, StringComparer.Ordinal))
            _violated.Add(rule.Name);
        receiver(new LintWarning(rule, message, location));
    }

    /// <summary>Throws when violations count as errors and there was one.</summary>
    public void ThrowIfViolated()
    {
        if (options.ReturnAsError && _violated.Count > 0)
            throw new DockerfileException("lint violation found for rules: " + string.Join(", ", _violated));
    }

    private bool IsOn(LintRule rule) => rule.Experimental
        ? options.ExperimentalRules is null || options.ExperimentalRules.Contains(rule.Name, StringComparer.Ordinal)
        : options.SkippedRules is not null && !options.SkippedRules.Contains(rule.Name, StringComparer.Ordinal);
}
