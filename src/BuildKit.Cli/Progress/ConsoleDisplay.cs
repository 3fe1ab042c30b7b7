using System.Globalization;
using System.Text;
using BuildKit.Client.Progress;
using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Progress;

/// <summary>Progress on a terminal, drawn over itself (spec 08 §4.4).</summary>
internal sealed class ConsoleDisplay : IProgressDisplay
{
    private const int SmallestName = 12;
    private const int ScreenMargin = 10;
    private const int SmallestWindow = 6;
    private const int WindowExtra = 3;
    private const int BytesPerShowing = 50;
    private const string Prefix = " => ";

    private readonly ProgressModel _model;
    private readonly DrawLimiter _limiter;
    private readonly DisplayOptions _options;
    private readonly Stream _output;
    private readonly Func<(int Width, int Height)> _size;
    private readonly MemoryStream _buffer = new();
    private readonly Dictionary<VertexProgress, Shown> _shown = [];
    private int _width;
    private int _height;
    private int _lineCount;
    private bool _isRepeated;

    public ConsoleDisplay(Stream output, Func<(int Width, int Height)> size, DisplayOptions options, TimeProvider time)
    {
        _output = output;
        _size = size;
        _options = options;
        _model = new ProgressModel(time) { OutputReceived = DrawOutput };
        _limiter = new DrawLimiter(time, options.DrawPause);
    }

    public void Update(StatusResponse message)
    {
        (_width, _height) = _size();
        _model.Update(message);
        if (_limiter.Allows())
            Refresh();
    }

    public void Refresh()
    {
        if (_width == 0)
            (_width, _height) = _size();
        Draw(isFinal: false);
        Flush();
    }

    public void Finish()
    {
        (_width, _height) = _size();
        Draw(isFinal: true);
        foreach (var vertex in _model.Started)
        {
            if (vertex.Error.Length == 0 || vertex.IsCanceled)
                continue;
            Write($"------\n > {vertex.Name}:\n");
            foreach (var line in vertex.Lines)
            {
                _buffer.Write(line);
                Write("\n");
            }
            Write("------\n");
        }
        Flush();
    }

    private int WindowHeight => Math.Max(SmallestWindow, Math.Min(_options.WindowLines, _height - SmallestWindow - 1));

    private void DrawOutput(VertexProgress vertex, VertexLog log)
    {
        var shown = For(vertex);
        shown.Screen ??= new TerminalScreen(WindowHeight, _width - ScreenMargin);
        shown.Screen.Resize(WindowHeight, _width - ScreenMargin);
        shown.Bytes += log.Msg.Length;
        shown.Screen.Write(log.Msg.Span);
    }

    private Shown For(VertexProgress vertex)
    {
        if (!_shown.TryGetValue(vertex, out var shown))
            _shown.Add(vertex, shown = new Shown());
        return shown;
    }

    private void Draw(bool isFinal)
    {
        var rows = new List<Row>();
        var begin = _model.Now;
        begin = _model.Begin ?? begin;
        foreach (var vertex in _model.Started)
            rows.AddRange(RowsOf(vertex));
        var hidden = OpenWindows(rows);
        if (!isFinal)
            rows = ProgressRows.Fit(rows, _height - 2 - hidden, static row => row.IsCompleted);

        var up = string.Concat(Enumerable.Repeat("\e[1A", _lineCount + 1));
        Write(up + (_isRepeated ? "" : "\e[1B") + "\e[0G\e[?25l");
        _isRepeated = true;
        DrawHeader(begin, isFinal);
        var lines = 0;
        foreach (var row in rows)
            lines += DrawRow(row);
        if (_lineCount > lines)
        {
            for (var i = lines; i < _lineCount; i++)
                Write(new string(' ', _width) + "\n");
            Write(string.Create(CultureInfo.InvariantCulture, $"\e[{_lineCount - lines}A\e[0G"));
        }
        _lineCount = lines;
        Write("\e[?25h");
    }

    private void DrawHeader(long begin, bool isFinal)
    {
        var total = 0;
        var completed = 0;
        foreach (var vertex in _model.Known)
        {
            if (vertex.IsHidden)
                continue;
            total++;
            if (vertex.IsCompleted)
                completed++;
        }
        var seconds = GoNumber.Fixed(GoNumber.Seconds(_model.Now - begin), 1);
        var ending = isFinal && completed > 0 && completed == total ? "FINISHED" : "";
        var text = string.Create(CultureInfo.InvariantCulture, $"[+] {_options.Phase} {seconds}s ({completed}/{total}) {ending}");
        var right = _options.ConsoleDescription;
        var width = right.Length > 0 ? _width - 1 : _width;
        Pad(Encoding.UTF8.GetBytes(text), width - Encoding.UTF8.GetByteCount(right) - 1);
        Write($" {right}\n");
    }

    private int DrawRow(Row row)
    {
        if (row.Intervals.Count == 0)
            return 0;
        double seconds = 0;
        foreach (var interval in row.Intervals)
            seconds += GoNumber.Seconds((interval.Stop ?? _model.Now) - interval.Start);
        var timer = $" {GoNumber.Fixed(seconds < 0.05 ? 0 : seconds, 1)}s\n";
        var left = _width - Prefix.Length - timer.Length - 1;
        var showsStatus = row.Status.Length > 0 && left + row.Status.Length > 20;
        if (showsStatus)
            left -= row.Status.Length + 1;
        if (left < SmallestName)
            return 0;
        var name = row.Name.AsSpan();
        byte[] text = [.. Encoding.UTF8.GetBytes(Prefix), .. name[..Math.Min(left, name.Length)], .. Encoding.UTF8.GetBytes(showsStatus ? " " + row.Status : "")];
        var color = !row.IsCompleted ? null : row.IsCanceled ? _options.Colors.Cancel : row.HasError ? _options.Colors.Error : _options.Colors.Run;
        if (color is not null)
            Write(color);
        Pad(text, _width - timer.Length - 1);
        Write(" " + timer);
        if (color is not null)
            Write("\e[0m");
        return 1 + DrawWindow(row);
    }

    private int DrawWindow(Row row)
    {
        if (!row.HasWindow || row.Vertex is not { Screen: { } screen } shown)
            return 0;
        screen.Resize(WindowHeight, _width - ScreenMargin);
        var lines = 0;
        foreach (var line in screen.UsedRows())
        {
            Write($"\e[2m => => # {line}\n\e[0m");
            lines++;
        }
        shown.Showings++;
        row.HasWindow = false;
        return lines;
    }

    /// <summary>Gives the running vertices with most output windows as far as there is room; says how many lines these take.</summary>
    private int OpenWindows(List<Row> rows)
    {
        var candidates = rows.FindAll(static row => row is { IsCompleted: false, Vertex.Bytes: > 0 })
            .OrderByDescending(static row => row.Vertex!.Bytes + ((long)row.Vertex.Showings * BytesPerShowing));
        var free = _height - 2 - rows.Count(static row => !row.IsCompleted);
        var hidden = 0;
        foreach (var row in candidates)
        {
            if (free <= WindowHeight + WindowExtra)
                break;
            row.HasWindow = true;
            hidden += row.Vertex!.Screen?.UsedHeight ?? 0;
            free -= WindowHeight + WindowExtra;
        }
        return hidden;
    }

    private List<Row> RowsOf(VertexProgress vertex)
    {
        var shown = For(vertex);
        if (shown.Revision == vertex.Revision)
            return shown.Rows;
        var rows = new List<Row>();
        var name = vertex.Name.Replace('\t', ' ');
        if (vertex.Error.Length > 0)
            name = (vertex.IsCanceled ? "CANCELED " : "ERROR ") + name;
        if (vertex.IsCached)
            name = "CACHED " + name;
        var shift = _model.Shift;
        rows.Add(new Row(Encoding.UTF8.GetBytes(name))
        {
            Intervals = [.. vertex.Merged.Select(interval => Local(interval, shift))],
            IsCompleted = vertex.Intervals.All(static interval => interval.Stop is not null),
            IsCanceled = vertex.IsCanceled,
            HasError = vertex.Error.Length > 0 && !vertex.IsCanceled,
            Vertex = shown,
        });
        foreach (var status in vertex.Statuses)
        {
            var record = status.Record;
            rows.Add(new Row(Encoding.UTF8.GetBytes("=> " + record.ID))
            {
                Intervals = status.Started is { } started ? [Local(new Interval(started, status.Completed), shift)] : [],
                IsCompleted = record.Completed is not null,
                Status = record.Total != 0 ? $"{GoNumber.Bytes(record.Current)} / {GoNumber.Bytes(record.Total)}"
                    : record.Current != 0 ? GoNumber.Bytes(record.Current) : "",
            });
        }
        foreach (var warning in vertex.Warnings)
        {
            rows.Add(new Row([.. "WARN: "u8, .. warning.Span])
            {
                Intervals = vertex.Merged.Count > 0 ? [Local(vertex.Merged[^1], shift)] : [new Interval(0, 0)],
                IsCanceled = true,
            });
        }
        shown.Rows = rows;
        shown.Revision = vertex.Revision;
        return rows;
    }

    private static Interval Local(Interval interval, long shift) => new(interval.Start + shift, interval.Stop + shift);

    /// <summary>Writes text and spaces up to a number of characters.</summary>
    private void Pad(ReadOnlySpan<byte> text, int width)
    {
        _buffer.Write(text);
        var characters = 0;
        for (var rest = text; !rest.IsEmpty; characters++)
            rest = rest[(Rune.DecodeFromUtf8(rest, out _, out var length) == System.Buffers.OperationStatus.Done ? length : 1)..];
        if (characters < width)
            Write(new string(' ', width - characters));
    }

    private void Write(string text) => _buffer.Write(Encoding.UTF8.GetBytes(text));

    private void Flush()
    {
        _output.Write(_buffer.GetBuffer(), 0, (int)_buffer.Length);
        _output.Flush();
        _buffer.SetLength(0);
    }

    /// <summary>What the display keeps of a vertex.</summary>
    private sealed class Shown
    {
        public int Revision { get; set; } = -1;

        public List<Row> Rows { get; set; } = [];

        public TerminalScreen? Screen { get; set; }

        public long Bytes { get; set; }

        public int Showings { get; set; }
    }

    private sealed class Row(byte[] name)
    {
        public byte[] Name { get; } = name;

        public string Status { get; init; } = "";

        public IReadOnlyList<Interval> Intervals { get; init; } = [];

        public bool IsCompleted { get; init; }

        public bool IsCanceled { get; init; }

        public bool HasError { get; init; }

        public Shown? Vertex { get; init; }

        public bool HasWindow { get; set; }
    }
}

/// <summary>Chooses what of a list fits on a screen.</summary>
internal static class ProgressRows
{
    /// <summary>The last rows; running ones that would be cut take the place of completed ones, from the top.</summary>
    public static List<T> Fit<T>(List<T> rows, int limit, Func<T, bool> isCompleted)
    {
        if (limit < 0)
            return [];
        if (rows.Count <= limit)
            return rows;
        var kept = rows.GetRange(rows.Count - limit, limit);
        var cut = rows.GetRange(0, rows.Count - limit).FindAll(row => !isCompleted(row));
        if (cut.Count == 0)
            return kept;
        var places = cut.Count;
        var rest = new List<T>(kept.Count);
        foreach (var row in kept)
        {
            if (!isCompleted(row) || places <= 0)
                rest.Add(row);
            places--;
        }
        var free = kept.Count - rest.Count;
        return [.. cut.GetRange(cut.Count - free, free), .. rest];
    }
}
