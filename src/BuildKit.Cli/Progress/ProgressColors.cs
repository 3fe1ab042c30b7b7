using System.Globalization;
using BuildKit.Cli.Values;

namespace BuildKit.Cli.Progress;

/// <summary>Colours of the rows of a terminal as SGR sequences; null for none (spec 08 §4.5).</summary>
internal sealed record ProgressColors(string? Run, string? Cancel, string? Error, string? Warning)
{
    private static readonly string[] Names = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

    /// <summary>The colours without any wish of the user.</summary>
    public static ProgressColors Default { get; } = new(Sgr(34), Sgr(33), Sgr(31), Sgr(33));

    /// <summary>The colours that NO_COLOR and BUILDKIT_COLORS ask for.</summary>
    /// <param name="variable">Reads an environment variable; null when unset.</param>
    /// <param name="warn">Gets a text and the error behind it, which may be empty.</param>
    public static ProgressColors FromEnvironment(Func<string, string?> variable, Action<string, string> warn)
    {
        if (variable("NO_COLOR") is { Length: > 0 })
            return new(null, null, null, null);
        var colors = Default;
        if (variable("BUILDKIT_COLORS") is not { } wish)
            return colors;
        List<string> entries;
        try
        {
            entries = CsvRecord.Parse(wish, ':');
        }
        catch (FormatException failure)
        {
            warn("Could not parse BUILDKIT_COLORS. Falling back to defaults.", failure.Message);
            return colors;
        }
        foreach (var entry in entries)
            colors = Apply(colors, entry, warn);
        return colors;
    }

    private static ProgressColors Apply(ProgressColors colors, string entry, Action<string, string> warn)
    {
        var parts = entry.Split('=');
        if (parts.Length != 2)
        {
            warn($"Could not parse BUILDKIT_COLORS component: {entry}", "A valid entry must have exactly two fields");
            return colors;
        }
        var (key, value) = (parts[0].ToLowerInvariant(), parts[1].ToLowerInvariant());
        var color = value.Contains(',', StringComparison.Ordinal) ? FromRgb(value, warn) : FromName(value);
        if (color is null)
        {
            if (!value.Contains(',', StringComparison.Ordinal))
                warn($"Unknown color value found in BUILDKIT_COLORS: {key}={value}", "Colors must be a name from the pre-defined list or a valid 3-part RGB value");
            return colors;
        }
        switch (key)
        {
            case "run":
                return colors with { Run = color };
            case "cancel":
                return colors with { Cancel = color };
            case "error":
                return colors with { Error = color };
            case "warning":
                return colors with { Warning = color };
            default:
                warn($"Unknown key found in BUILDKIT_COLORS (expected: run, cancel, error, or warning): {key}", "");
                return colors;
        }
    }

    private static string? FromName(string name)
    {
        if (name == "default")
            return Sgr(39);
        var isLight = name.StartsWith("light-", StringComparison.Ordinal);
        var index = Array.IndexOf(Names, isLight ? name["light-".Length..] : name);
        return index < 0 ? null : Sgr((isLight ? 90 : 30) + index);
    }

    private static string? FromRgb(string text, Action<string, string> warn)
    {
        List<string> fields;
        try
        {
            fields = CsvRecord.Parse(text, ',');
        }
        catch (FormatException failure)
        {
            warn($"Could not parse value {text} as valid comma-separated RGB color. Ignoring.", failure.Message);
            return null;
        }
        if (fields.Count != 3)
        {
            warn($"Could not parse value {text} as valid RGB color. Ignoring.", "A valid RGB color must have three fields");
            return null;
        }
        Span<int> parts = stackalloc int[3];
        for (var i = 0; i < 3; i++)
        {
            if (!int.TryParse(fields[i], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out parts[i]))
            {
                warn($"A field in BUILDKIT_COLORS appears to contain an RGB value that is not an integer: {text}", "");
                return null;
            }
            if (parts[i] is < 0 or > 255)
            {
                warn($"A field in BUILDKIT_COLORS appears to contain an RGB value that is not within the valid range of 0-255: {text}", "");
                return null;
            }
        }
        return string.Create(CultureInfo.InvariantCulture, $"\e[38;5;{16 + (36 * (parts[0] / 43)) + (6 * (parts[1] / 43)) + (parts[2] / 43)}m");
    }

    private static string Sgr(int code) => string.Create(CultureInfo.InvariantCulture, $"\e[{code}m");
}
