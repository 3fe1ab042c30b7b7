using BuildKit.Protocol.Control;

namespace BuildKit.Client.Progress;

/// <summary>
/// The state of a build as its status messages tell it (spec 08 §4.1). Displays read it; it is used by one thread at a
/// time.
/// </summary>
/// <param name="time">The local clock.</param>
public sealed class ProgressModel(TimeProvider time)
{
    private readonly Dictionary<string, VertexProgress> _byDigest = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Group> _groups = new(StringComparer.Ordinal);
    private readonly List<VertexProgress> _started = [];
    private readonly HashSet<string> _changed = new(StringComparer.Ordinal);
    private long? _firstStart;
    private long _shift;

    /// <summary>What is shown, in the order it started.</summary>
    public IReadOnlyList<VertexProgress> Started => _started;

    /// <summary>Everything known: each member of a group stands for its group.</summary>
    public IReadOnlyCollection<VertexProgress> Known => _byDigest.Values;

    /// <summary>Digests of what changed and was not shown since, in the order of the change.</summary>
    public ICollection<string> Changed => _changed;

    /// <summary>What the daemon's times must be moved by to be local ones, in nanoseconds.</summary>
    public long Shift => _shift;

    /// <summary>The local clock in nanoseconds since 1970.</summary>
    public long Now => WireTime.Now(time);

    /// <summary>When the build began, in local time; null before anything started.</summary>
    public long? Begin => _firstStart + _shift;

    /// <summary>Output of a vertex as it came, for displays that interpret it.</summary>
    public Action<VertexProgress, VertexLog>? OutputReceived { get; set; }

    /// <summary>Looks a vertex or group up.</summary>
    public VertexProgress? Find(string digest) => _byDigest.GetValueOrDefault(digest);

    /// <summary>Takes a message in.</summary>
    public void Update(StatusResponse message)
    {
        var touched = new List<Group>();
        foreach (var record in message.Vertexes)
        {
            _firstStart ??= WireTime.Nanoseconds(record.Started);
            if (record.ProgressGroup is null)
                Enter(record);
            else if (EnterMember(record) is { } group && !touched.Contains(group))
                touched.Add(group);
        }
        foreach (var group in touched)
            Refresh(group);
        foreach (var status in message.Statuses)
        {
            if (!_byDigest.TryGetValue(status.Vertex, out var vertex))
                continue;
            vertex.Revision++;
            vertex.Enter(status);
            _changed.Add(vertex.Digest);
            vertex.Count(Now);
        }
        foreach (var warning in message.Warnings)
        {
            if (!_byDigest.TryGetValue(warning.Vertex, out var vertex))
                continue;
            vertex.Warnings.Add(warning.Short);
            vertex.Count(Now);
        }
        foreach (var log in message.Logs)
        {
            if (!_byDigest.TryGetValue(log.Vertex, out var vertex))
                continue;
            vertex.Revision++;
            OutputReceived?.Invoke(vertex, log);
            vertex.Enter(log);
            _changed.Add(vertex.Digest);
            vertex.Count(Now);
        }
    }

    private void Enter(Vertex record)
    {
        if (!_byDigest.TryGetValue(record.Digest, out var vertex))
            _byDigest.Add(record.Digest, vertex = new VertexProgress(record.Digest));
        var wasStarted = vertex.IsStarted;
        if (record.Started is not null)
        {
            if (IsNews(vertex.LastStarted, record))
            {
                vertex.Count(Now);
                _changed.Add(record.Digest);
            }
            vertex.LastStarted = record;
        }
        if (WireTime.Nanoseconds(record.Started) is { } start)
        {
            if (!wasStarted)
            {
                if (_shift == 0)
                    _shift = Now - start;
                _started.Add(vertex);
            }
            vertex.Enter(new Interval(start, WireTime.Nanoseconds(record.Completed)));
        }
        if (!wasStarted || record.Started is not null)
        {
            vertex.Name = record.Name;
            vertex.IsCached = record.Cached;
            vertex.Error = record.Error;
        }
        vertex.Revision++;
    }

    private static bool IsNews(Vertex? last, Vertex record) =>
        last is null || last.Name != record.Name || !last.Started.Equals(record.Started) || record.Completed is not null
        || last.Cached != record.Cached || last.Error != record.Error;

    private Group EnterMember(Vertex record)
    {
        var id = record.ProgressGroup.Id;
        if (!_groups.TryGetValue(id, out var group))
        {
            group = new Group(new VertexProgress(id) { Name = record.ProgressGroup.Name, IsHidden = true });
            _groups.Add(id, group);
            _byDigest[id] = group.Shown;
        }
        group.Members[record.Digest] = record;
        _byDigest[record.Digest] = group.Shown;
        return group;
    }

    private void Refresh(Group group)
    {
        var shown = group.Shown;
        var (wasStarted, wasHidden, isNews, isCached, error) = (shown.IsStarted, shown.IsHidden, false, true, shown.Error);
        foreach (var member in group.Members.Values)
        {
            if (WireTime.Nanoseconds(member.Started) is { } start)
            {
                isNews |= shown.Enter(new Interval(start, WireTime.Nanoseconds(member.Completed)));
                if (!member.ProgressGroup.Weak)
                    shown.IsHidden = false;
            }
            isCached &= member.Cached;
            if (error.Length == 0)
                error = member.Error;
        }
        if (error.Length > 0)
            shown.IsHidden = false;
        isNews |= shown.IsCached != isCached || shown.Error != error || wasHidden != shown.IsHidden;
        shown.IsCached = isCached;
        shown.Error = error;
        if (!wasStarted && shown.IsStarted && _shift == 0)
            _shift = Now - shown.Merged[0].Start;
        if (shown.IsHidden)
            return;
        if (wasHidden)
            _started.Add(shown);
        if (isNews)
        {
            shown.Count(Now);
            _changed.Add(shown.Digest);
        }
        shown.Revision++;
    }

    private sealed record Group(VertexProgress Shown)
    {
        public Dictionary<string, Vertex> Members { get; } = new(StringComparer.Ordinal);
    }
}
