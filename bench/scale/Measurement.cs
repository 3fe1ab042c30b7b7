using System.Diagnostics;
using System.Globalization;

namespace BuildKit.Scale;

/// <summary>Runs one scenario at growing sizes and prints a line for each: time, memory, and how both grow per item.</summary>
internal static class Measurement
{
    /// <summary>Above this many times the smallest size's cost of one item, growth is not linear any more; noise is below it.</summary>
    private const double Tolerance = 2.0;

    /// <summary>Prints the head of the table.</summary>
    public static void PrintHead() =>
        Console.WriteLine($"{"",-46}{"items",8}{"seconds",10}{"µs/item",10}{"MiB",8}{"growth",9}");

    /// <summary>Measures <paramref name="scenario"/>, which returns what must stay alive while memory is looked at.
    /// Each size runs <paramref name="runs"/> times; the quickest counts. True when time per item does not grow.</summary>
    public static async Task<bool> RunAsync(string name, int[] sizes, int runs, Func<int, Task<object?>> scenario)
    {
        double? first = null;
        var linear = true;
        foreach (var size in sizes)
        {
            var best = double.MaxValue;
            double memory = 0;
            for (var run = 0; run < runs; run++)
            {
                var before = Settled();
                var clock = Stopwatch.StartNew();
                var kept = await scenario(size).ConfigureAwait(false);
                best = Math.Min(best, clock.Elapsed.TotalSeconds);
                memory = Math.Max(memory, (Settled() - before) / 1048576.0);
                GC.KeepAlive(kept);
                if (kept is IAsyncDisposable owned)
                    await owned.DisposeAsync().ConfigureAwait(false);
            }
            var perItem = best / size;
            first ??= perItem;
            var growth = perItem / first.Value;
            linear &= growth <= Tolerance;
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"{name,-46}{size,8}{best,10:0.000}{perItem * 1e6,10:0.0}{memory,8:0.0}{growth,9:0.00}"));
        }
        return linear;
    }

    private static long Settled()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        return GC.GetTotalMemory(forceFullCollection: true);
    }
}
