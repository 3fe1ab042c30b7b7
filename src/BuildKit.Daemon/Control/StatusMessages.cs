using BuildKit.Protocol.Control;
using BuildKit.Solver;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Daemon.Control;

/// <summary>Progress as the wire carries it.</summary>
internal static class StatusMessages
{
    /// <summary>Bytes of log in one message; the rest goes into further ones.</summary>
    private const int LogBytesPerMessage = 1 << 20;

    /// <summary>The messages for one batch of progress.</summary>
    public static IEnumerable<StatusResponse> From(SolveStatus status)
    {
        var message = new StatusResponse();
        foreach (var vertex in status.Vertices)
            message.Vertexes.Add(From(vertex));
        foreach (var line in status.Statuses)
            message.Statuses.Add(From(line));
        foreach (var warning in status.Warnings)
            message.Warnings.Add(From(warning));
        var bytes = 0;
        foreach (var log in status.Logs)
        {
            if (bytes > 0 && bytes + log.Data.Length > LogBytesPerMessage)
            {
                yield return message;
                message = new StatusResponse();
                bytes = 0;
            }
            bytes += log.Data.Length;
            message.Logs.Add(new VertexLog
            {
                Vertex = log.Vertex.ToString(),
                Timestamp = Timestamp.FromDateTimeOffset(log.Timestamp),
                Stream = log.Stream,
                Msg = UnsafeByteOperations.UnsafeWrap(log.Data),
            });
        }
        yield return message;
    }

    private static Protocol.Control.Vertex From(VertexStatusUpdate vertex)
    {
        var message = new Protocol.Control.Vertex
        {
            Digest = vertex.Digest.ToString(),
            Name = vertex.Name,
            Cached = vertex.Cached,
            Error = vertex.Error,
            Started = Time(vertex.Started),
            Completed = Time(vertex.Completed),
        };
        foreach (var input in vertex.Inputs)
            message.Inputs.Add(input.ToString());
        if (vertex.ProgressGroup is { } group)
            message.ProgressGroup = new Protocol.Pb.ProgressGroup { Id = group.Id, Name = group.Name, Weak = group.Weak };
        return message;
    }

    private static VertexStatus From(ProgressStatus status) => new()
    {
        ID = status.Id,
        Vertex = status.Vertex.ToString(),
        Name = status.Name,
        Current = status.Current,
        Total = status.Total,
        Timestamp = Timestamp.FromDateTimeOffset(status.Timestamp),
        Started = Time(status.Started),
        Completed = Time(status.Completed),
    };

    private static VertexWarning From(ProgressWarning warning)
    {
        var message = new VertexWarning
        {
            Vertex = warning.Vertex.ToString(),
            Level = warning.Level,
            Short = ByteString.CopyFrom(warning.Short.Span),
            Url = warning.Url,
            Info = warning.SourceInfo as Protocol.Pb.SourceInfo,
        };
        foreach (var detail in warning.Detail)
            message.Detail.Add(ByteString.CopyFrom(detail.Span));
        foreach (var range in warning.Ranges)
            message.Ranges.Add((Protocol.Pb.Range)range);
        return message;
    }

    private static Timestamp? Time(DateTimeOffset? time) => time is { } value ? Timestamp.FromDateTimeOffset(value) : null;
}
