using System.Globalization;
using System.Text;

namespace BuildKit.Worker.Executor;

/// <summary>Limits of a step's output per stream; -1 lifts a limit (spec 06 §6.7).</summary>
/// <param name="MaxSize">Bytes in all.</param>
/// <param name="MaxSpeed">Bytes per second since the stream began.</param>
public sealed record StepLogLimits(long MaxSize, long MaxSpeed)
{
    /// <summary>2 MiB, 200 KiB/s.</summary>
    public static StepLogLimits Default { get; } = new(2 * 1024 * 1024, 200 * 1024);

    /// <summary>The limits the daemon's environment asks for.</summary>
    public static StepLogLimits FromEnvironment() => new(
        Read("BUILDKIT_STEP_LOG_MAX_SIZE", Default.MaxSize), Read("BUILDKIT_STEP_LOG_MAX_SPEED", Default.MaxSpeed));

    private static long Read(string name, long fallback) =>
        long.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            ? value
            : fallback;
}

/// <summary>
/// One output stream of a step on its way to the progress log: passes bytes until a limit is reached, says so
/// once, keeps the last 256 KiB of what it held back and gives them out when the step failed.
/// Used by one thread at a time.
/// </summary>
public sealed class StepLog(int stream, StepLogLimits limits, TimeProvider time, Action<int, ReadOnlyMemory<byte>> write)
{
    private const int RingSize = 256 * 1024;
    private readonly long _start = time.GetTimestamp();
    private long _sent;
    private bool _clipping;
    private byte[]? _ring;
    private long _ringWritten;

    /// <summary>Takes a chunk as it was read.</summary>
    public void Write(ReadOnlyMemory<byte> chunk)
    {
        var (allowed, limit) = Allowance();
        var room = limits is { MaxSize: < 0, MaxSpeed: < 0 } ? chunk.Length : (int)Math.Clamp(allowed - _sent, 0, chunk.Length);
        if (room < chunk.Length)
        {
            if (room > 0)
                Emit(chunk[..room]);
            if (!_clipping)
                write(stream, Encoding.UTF8.GetBytes($"\n[output clipped, log limit {limit} reached]\n"));
            _clipping = true;
            Keep(chunk.Span[room..]);
            return;
        }
        _clipping = false;
        Emit(chunk);
    }

    /// <summary>Gives out the tail that was held back; called when the step failed.</summary>
    public void FlushHeldBack()
    {
        if (_ring is null || _ringWritten == 0)
            return;
        var length = (int)Math.Min(_ringWritten, RingSize);
        var tail = new byte[length];
        var start = (int)((_ringWritten - length) % RingSize);
        var first = Math.Min(length, RingSize - start);
        _ring.AsSpan(start, first).CopyTo(tail);
        _ring.AsSpan(0, length - first).CopyTo(tail.AsSpan(first));
        _ringWritten = 0;
        write(stream, tail);
    }

    private void Emit(ReadOnlyMemory<byte> chunk)
    {
        _sent += chunk.Length;
        write(stream, chunk);
    }

    private (long Allowed, string Limit) Allowance()
    {
        var seconds = Math.Max(1, Math.Ceiling(time.GetElapsedTime(_start).TotalSeconds));
        var bySpeed = limits.MaxSpeed < 0 ? long.MaxValue : (long)Math.Min(long.MaxValue, limits.MaxSpeed * seconds);
        var bySize = limits.MaxSize < 0 ? long.MaxValue : limits.MaxSize;
        return bySpeed < bySize ? (bySpeed, Size(limits.MaxSpeed) + "/s") : (bySize, Size(limits.MaxSize));
    }

    private void Keep(ReadOnlySpan<byte> bytes)
    {
        _ring ??= new byte[RingSize];
        if (bytes.Length > RingSize)
        {
            _ringWritten += bytes.Length - RingSize;
            bytes = bytes[^RingSize..];
        }
        while (bytes.Length > 0)
        {
            var at = (int)(_ringWritten % RingSize);
            var count = Math.Min(bytes.Length, RingSize - at);
            bytes[..count].CopyTo(_ring.AsSpan(at));
            _ringWritten += count;
            bytes = bytes[count..];
        }
    }

    /// <summary>A size as <c>%g</c> with a binary unit: <c>200KiB</c>, <c>1.5MiB</c>, <c>100B</c>.</summary>
    private static string Size(long bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB"];
        double value = bytes;
        var unit = 0;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }
        return value.ToString("0.######", CultureInfo.InvariantCulture) + units[unit];
    }
}
