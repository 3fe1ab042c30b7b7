using System.Globalization;
using System.Text;
using BuildKit.Client.Progress;
using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Progress;

/// <summary>Progress as text that only grows (spec 08 §4.2, §4.3).</summary>
internal sealed class PlainDisplay : IProgressDisplay
{
    private const int KeptLines = 10;
    private const int CutName = 72;
    private const double StatusStep = 0.05;
    private const long Second = 1_000_000_000;
    private const long StatusPause = 5 * Second;
    private const long PatienceWithHidden = 10 * Second;
    private const double AntiFlicker = 5;

    private readonly ProgressModel _model;
    private readonly DrawLimiter _limiter;
    private readonly DisplayOptions _options;
    private readonly Stream _output;
    private readonly MemoryStream _buffer = new();
    private readonly Dictionary<string, Printed> _printed = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (long Current, long Time)> _lastStatus = new(StringComparer.Ordinal);
    private VertexProgress? _current;
    private bool _hasPrinted;

    public PlainDisplay(Stream output, DisplayOptions options, TimeProvider time)
    {
        _output = output;
        _options = options;
        _model = new ProgressModel(time);
        _limiter = new DrawLimiter(time, options.DrawPause);
    }

    public void Update(StatusResponse message)
    {
        _model.Update(message);
        if (_limiter.Allows())
            Refresh();
    }

    public void Refresh()
    {
        Draw();
        Flush();
    }

    public void Finish()
    {
        Draw();
        if (_options.ShowsLateWarnings)
            PrintLateWarnings();
        foreach (var vertex in _model.Started)
        {
            if (vertex.Error.Length == 0 || vertex.IsCanceled)
                continue;
            Write($"------\n > {vertex.Name}:\n");
            foreach (var line in vertex.Lines)
                WriteLine(line);
            foreach (var line in _printed.TryGetValue(vertex.Digest, out var printed) ? printed.LastLines() : [])
                WriteLine(line);
            Write("------\n");
        }
        Flush();
    }

    public int? NumberOf(string vertex) => _printed.TryGetValue(vertex, out var printed) ? printed.Number : null;

    private void Draw()
    {
        var completed = new List<VertexProgress>();
        var rest = new List<VertexProgress>();
        foreach (var digest in _model.Changed)
        {
            if (_model.Find(digest) is { IsHidden: false } vertex)
                (vertex.IsCompleted ? completed : rest).Add(vertex);
        }
        var current = _current;
        var currentCompleted = current is not null && completed.Remove(current);
        if (currentCompleted)
            Print(current!);
        completed.Sort(static (a, b) => Nullable.Compare(a.Merged[^1].Stop, b.Merged[^1].Stop));
        foreach (var vertex in completed)
            Print(vertex);

        if (rest.Count == 0)
        {
            if (current is { IsStarted: true, IsCompleted: false })
                return;
            foreach (var vertex in _model.Started)
            {
                if (vertex is { IsStarted: true, IsCompleted: false, IsHidden: false })
                {
                    Print(vertex);
                    return;
                }
            }
            return;
        }
        if (current is not null && rest.Contains(current))
            Print(current);
        else if (current is not null)
            rest.Add(current);
        if (Choose(rest, current, currentCompleted) is { } chosen)
            Print(chosen);
    }

    /// <summary>Which of several running vertices is shown next; null to stay.</summary>
    private VertexProgress? Choose(List<VertexProgress> running, VertexProgress? current, bool currentCompleted)
    {
        var now = _model.Now;
        double sum = 0;
        double currentSpeed = 0;
        double currentBlocked = 0;
        VertexProgress? fastest = null;
        VertexProgress? overLimit = null;
        double fastestSpeed = 0;
        foreach (var vertex in running)
        {
            if (vertex.UnseenSince is not { } since)
                continue;
            var blocked = now - since;
            var speed = vertex.UnseenChanges / GoNumber.Seconds(blocked);
            sum += speed;
            if (vertex == current)
                (currentSpeed, currentBlocked) = (speed, GoNumber.Seconds(blocked));
            var isOverLimit = blocked > PatienceWithHidden && vertex != current;
            if (isOverLimit)
                overLimit ??= vertex;
            if (isOverLimit || fastest is null || fastestSpeed < speed)
                (fastest, fastestSpeed) = (vertex, speed);
        }
        if (currentCompleted || current is null)
            return fastest;
        if (overLimit is not null)
            return overLimit;
        return 1 / (1 - (currentSpeed / sum)) * AntiFlicker < currentBlocked ? fastest : null;
    }

    private void Print(VertexProgress vertex)
    {
        if (!_printed.TryGetValue(vertex.Digest, out var printed))
            _printed.Add(vertex.Digest, printed = new Printed(_printed.Count + 1));
        if (vertex != _current)
            SwitchTo(vertex, printed.Number);
        var prefix = string.Create(CultureInfo.InvariantCulture, $"#{printed.Number} ");
        var isOpen = PrintStatuses(vertex, prefix);
        PrintWarnings(vertex, printed, prefix);
        PrintLines(vertex, printed, prefix);
        _current = vertex;
        if (vertex.IsCompleted && !isOpen)
        {
            _current = null;
            vertex.UnseenChanges = 0;
            if (vertex.IsLineOpen)
                Write("\n");
            Write(prefix + Ending(vertex) + "\n");
        }
        _model.Changed.Remove(vertex.Digest);
    }

    /// <summary>Warnings about a vertex that did not change any more after they came.</summary>
    private void PrintLateWarnings()
    {
        foreach (var vertex in _model.Started)
        {
            if (!_printed.TryGetValue(vertex.Digest, out var printed) || printed.Warnings == vertex.Warnings.Count)
                continue;
            if (vertex != _current)
                SwitchTo(vertex, printed.Number);
            PrintWarnings(vertex, printed, string.Create(CultureInfo.InvariantCulture, $"#{printed.Number} "));
            _current = null;
        }
    }

    private void PrintWarnings(VertexProgress vertex, Printed printed, string prefix)
    {
        for (; printed.Warnings < vertex.Warnings.Count; printed.Warnings++)
        {
            Write(prefix + "WARN: ");
            WriteLine(vertex.Warnings[printed.Warnings].Span);
        }
    }

    private void SwitchTo(VertexProgress vertex, int number)
    {
        if (_current is { } old)
        {
            if (old.IsLineOpen)
                Write("\n");
            var printed = _printed[old.Digest];
            printed.LineOffset = 0;
            old.UnseenChanges = 0;
            Write(string.Create(CultureInfo.InvariantCulture, $"#{printed.Number} ...\n"));
        }
        if (_hasPrinted)
            Write("\n");
        else if (_options.TextDescription.Length > 0)
            Write($"#0 {_options.TextDescription}\n\n");
        _hasPrinted = true;
        var name = Encoding.UTF8.GetBytes(vertex.Name);
        Write(string.Create(CultureInfo.InvariantCulture, $"#{number} "));
        if (_options.CutsNames && name.Length > CutName)
        {
            _buffer.Write(name.AsSpan(0, CutName));
            Write("...\n");
        }
        else
        {
            WriteLine(name);
        }
    }

    private bool PrintStatuses(VertexProgress vertex, string prefix)
    {
        var isOpen = false;
        foreach (var status in vertex.Statuses)
        {
            var record = status.Record;
            if (!vertex.FreshStatuses.Contains(record.ID))
                continue;
            var time = WireTime.Nanoseconds(record.Timestamp) ?? 0;
            if (_lastStatus.TryGetValue(record.ID, out var last) && record.Completed is null)
            {
                var step = record.Total > 0 ? (double)(record.Current - last.Current) / record.Total : 0;
                if (step < StatusStep && time - last.Time < StatusPause)
                    continue;
            }
            _lastStatus[record.ID] = (record.Current, time);
            var text = prefix + record.ID;
            if (record.Total != 0)
                text += $" {GoNumber.Bytes(record.Current)} / {GoNumber.Bytes(record.Total)}";
            else if (record.Current != 0)
                text += " " + GoNumber.Bytes(record.Current);
            if (status.Started is { } started && GoNumber.Seconds((status.Completed ?? time) - started) is > 0.01 and var elapsed)
                text += $" {GoNumber.Fixed(elapsed, 1)}s";
            if (record.Completed is not null)
                text += " done";
            else
                isOpen = true;
            Write(text + "\n");
        }
        vertex.FreshStatuses.Clear();
        return isOpen;
    }

    private void PrintLines(VertexProgress vertex, Printed printed, string prefix)
    {
        for (var i = 0; i < vertex.Lines.Count; i++)
        {
            var line = vertex.Lines[i];
            if (i == 0 && printed.LineOffset != 0)
                line = line[printed.LineOffset..];
            else
                Write(prefix);
            _buffer.Write(line);
            if (i != vertex.Lines.Count - 1 || !vertex.IsLineOpen)
                Write("\n");
            printed.Keep(line, isDone: !vertex.IsLineOpen);
        }
        if (vertex.Lines.Count == 0)
            return;
        if (vertex.IsLineOpen)
        {
            vertex.Lines.RemoveRange(0, vertex.Lines.Count - 1);
            printed.LineOffset = vertex.Lines[0].Length;
        }
        else
        {
            vertex.Lines.Clear();
            printed.LineOffset = 0;
        }
    }

    private static string Ending(VertexProgress vertex)
    {
        if (vertex.Error.Length > 0)
            return vertex.IsCanceled ? "CANCELED" : "ERROR: " + vertex.Error;
        if (vertex.IsCached)
            return "CACHED";
        double seconds = 0;
        foreach (var interval in vertex.Merged)
            seconds += GoNumber.Seconds(interval.Length(0));
        return $"DONE {GoNumber.Fixed(seconds, 1)}s";
    }

    private void Write(string text) => _buffer.Write(Encoding.UTF8.GetBytes(text));

    private void WriteLine(ReadOnlySpan<byte> text)
    {
        _buffer.Write(text);
        _buffer.WriteByte((byte)'\n');
    }

    private void Flush()
    {
        if (_buffer.Length == 0)
            return;
        _output.Write(_buffer.GetBuffer(), 0, (int)_buffer.Length);
        _output.Flush();
        _buffer.SetLength(0);
    }

    /// <summary>What has been printed of a vertex.</summary>
    private sealed class Printed(int number)
    {
        private readonly byte[]?[] _last = new byte[KeptLines][];
        private int _next;

        public int Number { get; } = number;

        /// <summary>Bytes of the first line that are on the screen already.</summary>
        public int LineOffset { get; set; }

        public int Warnings { get; set; }

        /// <summary>Keeps a line for the error block; one that goes on is replaced by what follows.</summary>
        public void Keep(byte[] line, bool isDone)
        {
            _last[_next] = line;
            if (isDone)
                _next = (_next + 1) % KeptLines;
        }

        public IEnumerable<byte[]> LastLines()
        {
            for (var i = 0; i < KeptLines; i++)
            {
                if (_last[(_next + i) % KeptLines] is { } line)
                    yield return line;
            }
        }
    }
}
