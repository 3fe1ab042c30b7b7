namespace BuildKit.Worker.Executor;

/// <summary>Reads a pipe or terminal on a thread of its own: many steps run at once, and blocked pool threads would
/// starve everything else.</summary>
internal static class OutputPump
{
    private const int ChunkSize = 32 * 1024;

    /// <summary>Reads what is there, waiting for it; 0 at the end.</summary>
    public delegate int Source(Span<byte> buffer);

    /// <summary>Hands every chunk to <paramref name="sink"/>; the task ends with the source, and fails when a chunk could
    /// not be read or handed on.</summary>
    public static Task Start(Source source, Action<ReadOnlyMemory<byte>> sink)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() => Pump(source, sink, done), maxStackSize: 256 * 1024) { IsBackground = true, Name = "step output" };
        thread.Start();
        return done.Task;
    }

    private static void Pump(Source source, Action<ReadOnlyMemory<byte>> sink, TaskCompletionSource done)
    {
        Exception? failure = null;
        try
        {
            var buffer = new byte[ChunkSize];
            for (int count; (count = source(buffer)) > 0;)
            {
                // After an error what comes is read and dropped: a process whose pipe is full would stand still.
                if (failure is null)
                    failure = Hand(sink, buffer.AsMemory(0, count).ToArray());
            }
        }
        catch (Exception exception)
        {
            failure ??= exception;
        }
        if (failure is null)
            done.SetResult();
        else
            done.SetException(failure);
    }

    private static Exception? Hand(Action<ReadOnlyMemory<byte>> sink, ReadOnlyMemory<byte> chunk)
    {
        try
        {
            sink(chunk);
            return null;
        }
        catch (Exception exception)
        {
            return exception;
        }
    }
}
