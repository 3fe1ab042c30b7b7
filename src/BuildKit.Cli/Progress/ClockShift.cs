using BuildKit.Client.Progress;
using BuildKit.Protocol.Control;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Cli.Progress;

/// <summary>Moves the daemon's times to the local clock: the first start seen counts as the moment the display was made (spec 08 §4.1).</summary>
internal sealed class ClockShift(TimeProvider time)
{
    private readonly long _created = WireTime.Now(time);
    private long? _shift;

    public void Apply(StatusResponse message)
    {
        if (_shift is null)
        {
            foreach (var vertex in message.Vertexes)
            {
                if (WireTime.Nanoseconds(vertex.Started) is { } started)
                    _shift = _created - started;
            }
        }
        if (_shift is null or 0)
            return;
        foreach (var vertex in message.Vertexes)
        {
            vertex.Started = Moved(vertex.Started);
            vertex.Completed = Moved(vertex.Completed);
        }
        foreach (var status in message.Statuses)
        {
            status.Started = Moved(status.Started);
            status.Completed = Moved(status.Completed);
            status.Timestamp = Moved(status.Timestamp);
        }
        foreach (var log in message.Logs)
            log.Timestamp = Moved(log.Timestamp);
    }

    private Timestamp? Moved(Timestamp? time) =>
        WireTime.Nanoseconds(time) is { } nanoseconds ? WireTime.ToTimestamp(nanoseconds + (_shift ?? 0)) : null;
}
