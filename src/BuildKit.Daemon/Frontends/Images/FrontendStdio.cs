using System.IO.Pipelines;
using BuildKit.Daemon.Gateway.Containers;
using BuildKit.Oci;

namespace BuildKit.Daemon.Frontends.Images;

/// <summary>The daemon's end of a frontend's standard streams: what it prints is read, what is written it reads.</summary>
internal sealed class FrontendStdio() : ForwardStream(FileAccess.ReadWrite)
{
    private readonly Pipe _input = new();
    private ReadOnlyMemory<byte> _rest;

    /// <summary>What the frontend's process reads.</summary>
    public Stream Input => _input.Reader.AsStream();

    /// <summary>Takes what the process prints.</summary>
    public ProcessOutput Output { get; } = new();

    /// <summary>The process has ended.</summary>
    public void ProcessEnded()
    {
        Output.Complete();
        _input.Reader.Complete();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_rest.IsEmpty)
            _rest = await Output.ReadAsync(cancellationToken);
        var count = Math.Min(_rest.Length, buffer.Length);
        _rest[..count].CopyTo(buffer);
        _rest = _rest[count..];
        return count;
    }

    /// <inheritdoc/>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if ((await _input.Writer.WriteAsync(buffer, cancellationToken)).IsCompleted)
            throw new IOException("the frontend's process has ended");
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _input.Writer.Complete();
            Output.Abandon();
        }
        base.Dispose(disposing);
    }
}
