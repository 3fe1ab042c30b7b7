using System.Text;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Frontends.Images;

/// <summary>What a frontend prints on standard error, line by line in the daemon's log: its users get the error it
/// returns. Written to by one thread.</summary>
internal sealed class FrontendErrors(ILogger logger, string source) : IDisposable
{
    private const int LongestLine = 8 << 10;
    private readonly List<byte> _line = [];

    /// <summary>Takes a chunk as it was read.</summary>
    public void Write(ReadOnlyMemory<byte> chunk)
    {
        foreach (var b in chunk.Span)
        {
            if (b == '\n' || _line.Count == LongestLine)
                Flush();
            if (b != '\n')
                _line.Add(b);
        }
    }

    /// <summary>Logs what is left without an end of line.</summary>
    public void Dispose() => Flush();

    private void Flush()
    {
        if (_line.Count > 0)
            logger.LogInformation("frontend {Source}: {Line}", source, Encoding.UTF8.GetString([.. _line]));
        _line.Clear();
    }
}
