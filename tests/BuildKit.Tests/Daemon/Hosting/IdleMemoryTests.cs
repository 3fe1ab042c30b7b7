using BuildKit.Daemon.Hosting;

namespace BuildKit.Tests.Daemon.Hosting;

public sealed class IdleMemoryTests
{
    [Fact]
    public async Task Memory_is_given_back_after_the_last_build_only()
    {
        var given = 0;
        var done = new TaskCompletionSource();
        using var memory = new IdleMemory(TimeProvider.System, () =>
        {
            Interlocked.Increment(ref given);
            done.TrySetResult();
        });
        memory.Begin();
        memory.Begin();
        memory.End();
        Assert.Equal(0, given);
        memory.End();
        await done.Task.WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(1, given);
    }
}
