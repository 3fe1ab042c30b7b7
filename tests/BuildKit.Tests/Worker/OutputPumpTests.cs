using BuildKit.Worker.Executor;

namespace BuildKit.Tests.Worker;

public sealed class OutputPumpTests
{
    [Fact]
    public async Task Output_whose_taker_fails_is_read_to_its_end_so_that_the_process_can_go_on()
    {
        var chunks = new Queue<byte[]>([[1], [2, 3], [4]]);
        List<byte[]> taken = [];

        var pump = OutputPump.Start(
            buffer =>
            {
                if (!chunks.TryDequeue(out var chunk))
                    return 0;
                chunk.CopyTo(buffer);
                return chunk.Length;
            },
            chunk =>
            {
                taken.Add(chunk.ToArray());
                throw new IOException("nobody takes it");
            });

        Assert.Equal("nobody takes it", (await Assert.ThrowsAsync<IOException>(() => pump)).Message);
        Assert.Empty(chunks);
        Assert.Equal([[1]], taken);
    }

    [Fact]
    public async Task Output_that_cannot_be_read_any_more_is_an_error()
    {
        var pump = OutputPump.Start(_ => throw new IOException("the pipe broke"), _ => { });

        Assert.Equal("the pipe broke", (await Assert.ThrowsAsync<IOException>(() => pump)).Message);
    }
}
