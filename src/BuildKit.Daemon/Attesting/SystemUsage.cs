using System.Globalization;
using BuildKit.Oci;

namespace BuildKit.Daemon.Attesting;

/// <summary>
/// What the machine does while a build runs (spec 07 §9.3 <c>sysUsage</c>): a sample every two seconds, in ever longer
/// intervals for long builds, and one more whenever they are asked for. Safe for concurrent use.
/// </summary>
internal sealed class SystemUsage : IDisposable
{
    private const int MostInInterval = 20;
    private static readonly TimeSpan Shortest = TimeSpan.FromSeconds(2);

    private readonly Lock _gate = new();
    private readonly List<SystemSample> _samples = [];
    private readonly TimeProvider _time;
    private readonly string _proc;
    private readonly DateTimeOffset _started;
    private readonly ITimer _timer;
    private TimeSpan _interval = Shortest;
    private DateTimeOffset _last;
    private Exception? _failure;

    /// <summary>Begins.</summary>
    /// <param name="time">Clock of the samples.</param>
    /// <param name="proc">Where the kernel tells.</param>
    public SystemUsage(TimeProvider time, string proc = "/proc")
    {
        (_time, _proc) = (time, proc);
        _started = time.GetUtcNow();
        _timer = time.CreateTimer(_ => Tick(), null, Shortest, Shortest);
    }

    /// <summary>The samples so far, and one of now.</summary>
    /// <exception cref="IOException">The kernel could not be asked.</exception>
    public IReadOnlyList<SystemSample> Samples()
    {
        var kept = new List<SystemSample>();
        lock (_gate)
        {
            if (_failure is not null)
                throw new IOException($"cannot sample the machine: {_failure.Message}", _failure);
            foreach (var sample in _samples)
            {
                if (kept.Count == 0 || sample.Time - kept[^1].Time >= _interval)
                    kept.Add(sample);
            }
        }
        kept.Add(SystemSample.Read(_proc, _time.GetUtcNow()));
        return kept;
    }

    /// <summary>Ends.</summary>
    public void Dispose() => _timer.Dispose();

    private void Tick()
    {
        var now = _time.GetUtcNow();
        lock (_gate)
        {
            if (now - _last < _interval)
                return;
            _last = now;
            try
            {
                _samples.Add(SystemSample.Read(_proc, now));
                _failure = null;
            }
            catch (Exception error) when (error is IOException or FormatException or UnauthorizedAccessException)
            {
                // Told to whoever asks for the samples.
                _failure = error;
            }
            if (_interval * MostInInterval <= _last - _started)
                _interval *= 2;
        }
    }
}

/// <summary>What the machine did at one moment.</summary>
internal sealed record SystemSample(
    DateTimeOffset Time, IReadOnlyList<double> CpuSeconds, ulong ContextSwitches, ulong ProcessesCreated, ulong ProcessesRunning,
    IReadOnlyList<ulong?> MemoryKilobytes, IReadOnlyList<SystemPressure?> Pressures)
{
    private const double TicksPerSecond = 100;
    private static readonly string[] CpuNames = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestNice"];

    private static readonly (string Name, string Line)[] MemoryNames =
    [
        ("total", "MemTotal"), ("free", "MemFree"), ("available", "MemAvailable"), ("buffers", "Buffers"), ("cached", "Cached"), ("active", "Active"),
        ("inactive", "Inactive"), ("swap", "SwapTotal"), ("dirty", "Dirty"), ("writeback", "Writeback"), ("slab", "Slab"),
    ];

    private static readonly (string Name, string File)[] PressureNames = [("cpuPressure", "cpu"), ("memoryPressure", "memory"), ("ioPressure", "io")];

    /// <summary>Asks the kernel.</summary>
    /// <exception cref="IOException">It could not be read.</exception>
    /// <exception cref="FormatException">It does not look as it should.</exception>
    public static SystemSample Read(string proc, DateTimeOffset time)
    {
        var stat = File.ReadLines(proc + "/stat").Select(Fields).ToLookup(fields => fields[0], StringComparer.Ordinal);
        var memory = File.ReadLines(proc + "/meminfo").Select(Fields).ToLookup(fields => fields[0].TrimEnd(':'), StringComparer.Ordinal);
        var cpu = stat["cpu"].FirstOrDefault() ?? throw new FormatException($"{proc}/stat tells nothing of the processors");
        return new SystemSample(
            time, [.. CpuNames.Select((_, i) => i + 1 < cpu.Length ? Number(cpu[i + 1]) / TicksPerSecond : 0)],
            Value(stat["ctxt"]) ?? 0, Value(stat["processes"]) ?? 0, Value(stat["procs_running"]) ?? 0,
            [.. MemoryNames.Select(name => Value(memory[name.Line]))],
            [.. PressureNames.Select(name => SystemPressure.Read($"{proc}/pressure/{name.File}"))]);
    }

    /// <summary>Writes it as provenance lists it.</summary>
    public void Write(CanonicalJsonWriter json)
    {
        json.WriteStartObject();
        json.WriteName("timestamp");
        json.WriteString(Rfc3339Time.From(Time.ToUniversalTime()).ToString());
        json.WriteName("cpuStat");
        json.WriteStartObject();
        foreach (var (i, name) in CpuNames.Index())
        {
            json.WriteName(name);
            json.WriteNumber(CpuSeconds[i]);
        }
        json.WriteEndObject();
        json.WriteName("procStat");
        json.WriteStartObject();
        foreach (var (name, value) in new[] { ("contextSwitches", ContextSwitches), ("processCreated", ProcessesCreated), ("processesRunning", ProcessesRunning) })
        {
            json.WriteName(name);
            json.WriteNumber(value);
        }
        json.WriteEndObject();
        json.WriteName("memoryStat");
        json.WriteStartObject();
        foreach (var (i, (name, _)) in MemoryNames.Index())
        {
            json.WriteName(name);
            if (MemoryKilobytes[i] is { } value)
                json.WriteNumber(value);
            else
                json.WriteNull();
        }
        json.WriteEndObject();
        foreach (var (i, (name, _)) in PressureNames.Index())
        {
            if (Pressures[i] is not { } pressure)
                continue;
            json.WriteName(name);
            pressure.Write(json);
        }
        json.WriteEndObject();
    }

    private static string[] Fields(string line) => line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is { Length: > 0 } fields ? fields : [""];

    private static ulong? Value(IEnumerable<string[]> lines) => lines.FirstOrDefault() is { Length: > 1 } fields ? Number(fields[1]) : null;

    private static ulong Number(string text) => ulong.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
}

/// <summary>How long tasks had to wait for something.</summary>
internal sealed record SystemPressure(SystemPressure.Values? Some, SystemPressure.Values? Full)
{
    /// <summary>Shares of the last seconds in percent, and microseconds since the start.</summary>
    internal sealed record Values(double Avg10, double Avg60, double Avg300, ulong Total);

    /// <summary>Reads a file of the kernel; null where it tells nothing.</summary>
    public static SystemPressure? Read(string file)
    {
        string[] lines;
        try
        {
            lines = File.ReadAllLines(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null; // documented: kernels without pressure information have no file, or one that cannot be read
        }
        return new SystemPressure(Parse("some"), Parse("full"));

        Values? Parse(string kind)
        {
            var line = lines.FirstOrDefault(l => l.StartsWith(kind + " ", StringComparison.Ordinal));
            if (line is null)
                return null;
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(field => field.Split('=', 2)).ToDictionary(pair => pair[0], pair => pair[^1], StringComparer.Ordinal);
            return new Values(Average("avg10"), Average("avg60"), Average("avg300"), ulong.Parse(fields["total"], NumberStyles.None, CultureInfo.InvariantCulture));

            double Average(string name) => double.Parse(fields[name], NumberStyles.Float, CultureInfo.InvariantCulture);
        }
    }

    /// <summary>Writes it as provenance lists it.</summary>
    public void Write(CanonicalJsonWriter json)
    {
        json.WriteStartObject();
        Write(json, "some", Some);
        Write(json, "full", Full);
        json.WriteEndObject();
    }

    private static void Write(CanonicalJsonWriter json, string name, Values? values)
    {
        json.WriteName(name);
        if (values is null)
        {
            json.WriteNull();
            return;
        }
        json.WriteStartObject();
        foreach (var (key, value) in new[] { ("avg10", values.Avg10), ("avg60", values.Avg60), ("avg300", values.Avg300) })
        {
            json.WriteName(key);
            json.WriteNumber(value);
        }
        json.WriteName("total");
        json.WriteNumber(values.Total);
        json.WriteEndObject();
    }
}
