using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Progress;

/// <summary>Shows a build. Used by one caller at a time.</summary>
internal interface IProgressDisplay
{
    /// <summary>Takes a message in and shows it if it is time to.</summary>
    void Update(StatusResponse message);

    /// <summary>Shows what has changed; called when nothing was received for a while.</summary>
    void Refresh();

    /// <summary>Shows the final state and the output of what failed.</summary>
    void Finish();

    /// <summary>The number a vertex was shown with; null when it was shown without one.</summary>
    int? NumberOf(string vertex) => null;
}

/// <summary>How displays look.</summary>
internal sealed record DisplayOptions
{
    /// <summary>What the header of a terminal says is going on.</summary>
    public string Phase { get; init; } = "Building";

    /// <summary>First line of plain output; empty for none.</summary>
    public string TextDescription { get; init; } = "";

    /// <summary>Right end of the header of a terminal; empty for none.</summary>
    public string ConsoleDescription { get; init; } = "";

    /// <summary>Whether names are cut in plain output (PROGRESS_NO_TRUNC=0).</summary>
    public bool CutsNames { get; init; }

    /// <summary>Lines of a window with output (BUILDKIT_TTY_LOG_LINES).</summary>
    public int WindowLines { get; init; } = 6;

    /// <summary>Whether plain output ends with the warnings that came after the last change of their step; the original drops them.</summary>
    public bool ShowsLateWarnings { get; init; }

    /// <summary>Colours of rows.</summary>
    public ProgressColors Colors { get; init; } = ProgressColors.Default;

    /// <summary>Shortest time between two draws caused by messages.</summary>
    public TimeSpan DrawPause { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Time without a message after which is drawn.</summary>
    public TimeSpan Tick { get; init; } = TimeSpan.FromMilliseconds(150);

    /// <summary>The options that the environment asks for (spec 08 §1.4).</summary>
    public static DisplayOptions FromEnvironment(Func<string, string?> variable, ProgressColors colors)
    {
        var options = new DisplayOptions { CutsNames = variable("PROGRESS_NO_TRUNC") == "0", Colors = colors };
        if (int.TryParse(variable("BUILDKIT_TTY_LOG_LINES"), out var lines) && lines > 0)
            options = options with { WindowLines = lines };
        if (long.TryParse(variable("TTY_DISPLAY_RATE"), out var rate) && rate > 0)
            options = options with { DrawPause = TimeSpan.FromMilliseconds(rate), Tick = TimeSpan.FromMilliseconds(rate) };
        return options;
    }
}
