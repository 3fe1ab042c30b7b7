namespace BuildKit.Cli.Progress;

/// <summary>Lets one draw through per pause; unused time is saved up for one draw at most.</summary>
internal sealed class DrawLimiter(TimeProvider time, TimeSpan pause)
{
    private double _saved = 1;
    private DateTimeOffset? _last;

    public bool Allows()
    {
        var now = time.GetUtcNow();
        if (_last is { } last)
            _saved = Math.Min(1, _saved + ((now - last) / pause));
        _last = now;
        if (_saved < 1)
            return false;
        _saved--;
        return true;
    }
}
