namespace BuildKit.Worker.Executor;

/// <summary>Reads a pipe or terminal on a thread of its own: many steps run at once, and blocked pool threads would
/// starve everything else.</summary>
internal static class OutputPump
{
    private const int ChunkSize = 32 * 1024;

    /// <summary>Reads what is there, waiting for it; 0 at the end.</summary>
    public delegate int Source(Span<byte> buffer);

    /// <summary>Hands every chunk to <paramref name="sink"/>; the task ends with the source.</summary>
    public static Task Start(Source source, Action<ReadOnlyMemory<byte>> sink)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() => Pump(source, sink, done), maxStackSize: 256 * 1024) { IsBackground = true, Name = "step output" };
        thread.Start();
        return done.Task;
    }

    private static void Pump(Source source, Action<ReadOnlyMemory<byte>> sink, TaskCompletionSource done)
    {
        try
        {
            var buffer = new byte[ChunkSize];
            for (int count; (count = source(buffer)) > 0;)
                sink(buffer.AsMemory(0, count).ToArray());
            done.SetResult();
        }
        catch (Exception exception)
        {
            done.SetException(exception);
        }
    }
}
