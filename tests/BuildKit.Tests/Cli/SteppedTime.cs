namespace BuildKit.Tests.Cli;

/// <summary>A clock that is set by hand and goes on by 100 ns with every reading, as the golden displays were driven.</summary>
internal sealed class SteppedTime(DateTimeOffset begin) : TimeProvider
{
    private DateTimeOffset _now = begin;

    public void Set(DateTimeOffset now) => _now = now;

    public override DateTimeOffset GetUtcNow() => _now += TimeSpan.FromTicks(1);
}
