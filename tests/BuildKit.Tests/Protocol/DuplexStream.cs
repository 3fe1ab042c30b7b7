using System.IO.Pipelines;
using BuildKit.Oci;

namespace BuildKit.Tests.Protocol;

/// <summary>Two connected streams in memory.</summary>
internal sealed class DuplexStream(PipeReader reader, PipeWriter writer) : ForwardStream(FileAccess.ReadWrite)
{
    private readonly Stream _input = reader.AsStream();
    private readonly Stream _output = writer.AsStream();

    public static (DuplexStream A, DuplexStream B) Pair()
    {
        var options = new PipeOptions(pauseWriterThreshold: 256 << 10, resumeWriterThreshold: 128 << 10, useSynchronizationContext: false);
        var there = new Pipe(options);
        var back = new Pipe(options);
        return (new(back.Reader, there.Writer), new(there.Reader, back.Writer));
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => _output.FlushAsync(cancellationToken);

    public override int Read(Span<byte> buffer) => _input.Read(buffer);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _input.ReadAsync(buffer, cancellationToken);

    public override void Write(ReadOnlySpan<byte> buffer) => _output.Write(buffer);

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        await _output.WriteAsync(buffer, cancellationToken);

    protected override void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        // A read that waits must end, as it does on a closed socket.
        reader.CancelPendingRead();
        _input.Dispose();
        _output.Dispose();
    }
}
