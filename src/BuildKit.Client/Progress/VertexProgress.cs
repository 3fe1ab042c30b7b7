using BuildKit.Protocol.Control;
using Google.Protobuf;

namespace BuildKit.Client.Progress;

/// <summary>One line of detail below a vertex, such as a download.</summary>
public sealed class StatusProgress
{
    internal StatusProgress(VertexStatus record) => Record = record;

    /// <summary>The last record received.</summary>
    public VertexStatus Record { get; internal set; }

    /// <summary>When it began, in nanoseconds since 1970.</summary>
    public long? Started => WireTime.Nanoseconds(Record.Started);

    /// <summary>When it ended.</summary>
    public long? Completed => WireTime.Nanoseconds(Record.Completed);
}

/// <summary>What is known of a vertex, or of a progress group that is shown like one (spec 08 §4.1).</summary>
public sealed class VertexProgress
{
    private readonly Dictionary<long, Interval> _intervals = [];
    private readonly Dictionary<string, StatusProgress> _statusById = new(StringComparer.Ordinal);

    internal VertexProgress(string digest) => Digest = digest;

    /// <summary>Digest of the vertex, or id of the group.</summary>
    public string Digest { get; }

    /// <summary>What it is called.</summary>
    public string Name { get; internal set; } = "";

    /// <summary>Whether the result was there already.</summary>
    public bool IsCached { get; internal set; }

    /// <summary>Why it failed; empty when it did not.</summary>
    public string Error { get; internal set; } = "";

    /// <summary>Whether it failed because the build was cancelled.</summary>
    public bool IsCanceled => Error.EndsWith("context canceled", StringComparison.Ordinal);

    /// <summary>Whether it is not to be shown: a group of which no member that counts has started.</summary>
    public bool IsHidden { get; internal set; }

    /// <summary>Whether it has started.</summary>
    public bool IsStarted => Merged.Count > 0;

    /// <summary>Whether the last stretch of work has ended.</summary>
    public bool IsCompleted => Merged.Count > 0 && Merged[^1].Stop is not null;

    /// <summary>Stretches of work as reported, by start.</summary>
    public IReadOnlyCollection<Interval> Intervals => _intervals.Values;

    /// <summary>Stretches of work, joined.</summary>
    public IReadOnlyList<Interval> Merged { get; private set; } = [];

    /// <summary>Details in the order they began.</summary>
    public List<StatusProgress> Statuses { get; } = [];

    /// <summary>IDs of the details that changed and were not yet looked at.</summary>
    public HashSet<string> FreshStatuses { get; } = new(StringComparer.Ordinal);

    /// <summary>Output lines with their time; a display takes away what it has printed.</summary>
    public List<byte[]> Lines { get; } = [];

    /// <summary>Whether the last line goes on.</summary>
    public bool IsLineOpen { get; private set; }

    /// <summary>Warnings.</summary>
    public List<ByteString> Warnings { get; } = [];

    /// <summary>Number of changes since a display last showed the vertex.</summary>
    public int UnseenChanges { get; set; }

    /// <summary>When the first of the unseen changes came; null before any.</summary>
    public long? UnseenSince { get; private set; }

    /// <summary>Changes with everything but warnings; lets a display keep what it derived.</summary>
    public int Revision { get; internal set; }

    /// <summary>The record that last had a start time.</summary>
    internal Vertex? LastStarted { get; set; }

    internal void Count(long now)
    {
        if (UnseenChanges == 0)
            UnseenSince = now;
        UnseenChanges++;
    }

    /// <summary>Enters a stretch of work; says whether that is news.</summary>
    internal bool Enter(Interval interval)
    {
        var isNews = !_intervals.TryGetValue(interval.Start, out var known) || known != interval;
        _intervals[interval.Start] = interval;
        Merged = Interval.Merge(_intervals.Values);
        return isNews;
    }

    internal void Enter(VertexStatus record)
    {
        if (!_statusById.TryGetValue(record.ID, out var status))
            _statusById.Add(record.ID, status = new StatusProgress(record));
        status.Record = record;
        if (record.Started is not null && !Statuses.Contains(status))
            Statuses.Add(status);
        FreshStatuses.Add(record.ID);
    }

    internal void Enter(VertexLog log)
    {
        var rest = log.Msg.Span;
        if (rest.IsEmpty)
        {
            IsLineOpen = true;
            return;
        }
        var isOpen = IsLineOpen && Lines.Count > 0;
        while (!rest.IsEmpty)
        {
            var end = rest.IndexOf((byte)'\n');
            var piece = end < 0 ? rest : rest[..end];
            if (isOpen)
                Lines[^1] = [.. Lines[^1], .. piece];
            else
                Lines.Add([.. System.Text.Encoding.ASCII.GetBytes(Elapsed(log) + " "), .. piece]);
            isOpen = false;
            IsLineOpen = end < 0;
            rest = end < 0 ? [] : rest[(end + 1)..];
        }
    }

    private string Elapsed(VertexLog log)
    {
        var nanoseconds = Merged.Count == 0 ? 0 : (WireTime.Nanoseconds(log.Timestamp) ?? 0) - Merged[^1].Start;
        var seconds = GoNumber.Seconds(nanoseconds);
        return GoNumber.Fixed(seconds, seconds < 10 ? 3 : seconds < 100 ? 2 : 1);
    }
}
