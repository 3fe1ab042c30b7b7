using System.Text;
using BuildKit.Daemon.Attesting;
using BuildKit.Oci;

namespace BuildKit.Tests.Daemon.Attesting;

/// <summary>Samples of the machine (spec 07 §9.3 <c>sysUsage</c>).</summary>
public sealed class SystemUsageTests : IDisposable
{
    private readonly string _proc = Directory.CreateTempSubdirectory("proc-").FullName;

    public void Dispose() => Directory.Delete(_proc, recursive: true);

    [Fact]
    public void A_sample_is_written_as_the_reference_writes_it()
    {
        File.WriteAllText(_proc + "/stat", "cpu  2373270 82431 505662 292945 7805 0 8003 2926 0 0\ncpu0 1 2\nintr 5 6\nctxt 77\nprocesses 88\nprocs_running 9\n");
        File.WriteAllText(_proc + "/meminfo", "MemTotal:       100 kB\nMemFree:         50 kB\nActive(anon):    1 kB\nActive:          2 kB\nSlab:            3 kB\n");
        Directory.CreateDirectory(_proc + "/pressure");
        File.WriteAllText(_proc + "/pressure/cpu", "some avg10=1.50 avg60=0.00 avg300=12.34 total=567\n");
        var json = new CanonicalJsonWriter();
        SystemSample.Read(_proc, new DateTimeOffset(2024, 1, 2, 3, 4, 5, TimeSpan.Zero)).Write(json);
        var expected = """
            {"timestamp":"2024-01-02T03:04:05Z",
            "cpuStat":{"user":23732.7,"nice":824.31,"system":5056.62,"idle":2929.45,"iowait":78.05,"irq":0,"softirq":80.03,"steal":29.26,"guest":0,"guestNice":0},
            "procStat":{"contextSwitches":77,"processCreated":88,"processesRunning":9},
            "memoryStat":{"total":100,"free":50,"available":null,"buffers":null,"cached":null,"active":2,"inactive":null,"swap":null,"dirty":null,"writeback":null,"slab":3},
            "cpuPressure":{"some":{"avg10":1.5,"avg60":0,"avg300":12.34,"total":567},"full":null}}
            """;
        Assert.Equal(expected.ReplaceLineEndings(""), Encoding.UTF8.GetString(json.WrittenSpan));
    }

    [Fact]
    public void Long_builds_have_their_samples_further_apart()
    {
        File.WriteAllText(_proc + "/stat", "cpu  1 2 3\n");
        File.WriteAllText(_proc + "/meminfo", "");
        var time = new ManualTime();
        using var usage = new SystemUsage(time, _proc);
        for (var i = 0; i < 100; i++)
            time.Advance(TimeSpan.FromSeconds(2));
        var samples = usage.Samples();
        // 200 seconds; what was sampled every two seconds at first is thinned out.
        Assert.InRange(samples.Count, 10, 15);
        Assert.All(samples.SkipLast(1).Zip(samples.SkipLast(1).Skip(1)), pair => Assert.True(pair.Second.Time - pair.First.Time >= TimeSpan.FromSeconds(16)));
        Assert.Equal(time.GetUtcNow(), samples[^1].Time);
    }

    [Fact]
    public void A_machine_that_tells_nothing_is_an_error_for_who_asks()
    {
        var time = new ManualTime();
        using var usage = new SystemUsage(time, _proc);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.StartsWith("cannot sample the machine: ", Assert.Throws<IOException>(() => usage.Samples()).Message, StringComparison.Ordinal);
    }

    /// <summary>A clock that stands still until it is moved, and fires the timer by hand.</summary>
    private sealed class ManualTime : TimeProvider
    {
        private readonly List<TimerCallback> _timers = [];
        private DateTimeOffset _now = new(2024, 1, 1, 0, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => _now;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _timers.Add(callback);
            return new Nothing();
        }

        public void Advance(TimeSpan by)
        {
            _now += by;
            foreach (var timer in _timers)
                timer(null);
        }

        private sealed class Nothing : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => default;
        }
    }
}
