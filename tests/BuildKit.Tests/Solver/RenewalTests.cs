using BuildKit.Solver;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.Solver;

/// <summary>Results that prove lost after they were handed out.</summary>
public sealed class RenewalTests
{
    private sealed class LossException() : Exception("lost");

    private static bool IsLoss(Exception? error)
    {
        while (error is not null and not LossException)
            error = error.InnerException;
        return error is not null;
    }

    [Fact]
    public async Task What_lies_on_a_lost_result_is_made_anew_and_the_rest_stays()
    {
        await using var bench = new TestBench();
        var made = 0;
        Vertex Graph(string top)
        {
            var middle = Step("middle", [Out(Step("bottom"))], run: (_, values, _) => Task.FromResult<IReadOnlyList<string>>([$"middle{++made}({values[0]})"]));
            var side = Step("side", [Out(Step("bottom"))]);
            return Step(top, [Out(middle), Out(side)], run: (_, values, _) =>
                values[0] == "middle1(bottom())" && top == "second" ? throw new LossException() : Task.FromResult<IReadOnlyList<string>>([$"{top}({string.Join(',', values)})"]));
        }

        await bench.BuildOnceAsync(Graph("first"));
        bench.TakeExecuted();
        var job = bench.NewJob();
        var graph = Graph("second");
        Assert.True(IsLoss(await Assert.ThrowsAnyAsync<Exception>(() => job.BuildAsync(Out(graph), default))));
        Assert.Equal("second", bench.TakeExecuted());

        bench.Results.Delete("worker::middle1(bottom())");
        await bench.Solver.SpoilAsync(result => (string)result.Value == "middle1(bottom())", IsLoss);
        await using (var result = await job.BuildAsync(Out(graph), default))
            Assert.Equal("second(middle2(bottom()),side(bottom()))", result.Result!.Value);
        Assert.Equal("middle second", bench.TakeExecuted());
        await job.DiscardAsync();
        await bench.AssertNothingLeftAsync();
        // And it is cached like everything else.
        Assert.Equal("second(middle2(bottom()),side(bottom()))", await bench.BuildOnceAsync(Graph("second")));
        Assert.Equal("", bench.TakeExecuted());
    }

    [Fact]
    public async Task A_finished_result_that_proves_lost_is_made_anew()
    {
        await using var bench = new TestBench();
        var made = 0;
        Vertex Graph() => Step("top", [Out(Step("bottom"))], run: (_, values, _) => Task.FromResult<IReadOnlyList<string>>([$"top{++made}({values[0]})"]));
        var job = bench.NewJob();
        var first = await job.BuildAsync(Out(Graph()), default);
        bench.Results.Delete("worker::top1(bottom())");
        await bench.Solver.SpoilAsync(result => (string)result.Value == "top1(bottom())", IsLoss);
        await using (var second = await job.BuildAsync(Out(Graph()), default))
            Assert.Equal("top2(bottom())", second.Result!.Value);
        Assert.Equal("bottom top top", bench.TakeExecuted());
        // Whoever holds the lost one still may.
        Assert.Equal("top1(bottom())", first.Result!.Value);
        await job.DiscardAsync();
        await first.DisposeAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Two_builds_share_what_replaces_a_lost_result()
    {
        await using var bench = new TestBench();
        var made = 0;
        Vertex Graph() => Step("top", run: (_, _, _) => Task.FromResult<IReadOnlyList<string>>([$"top{++made}"]));
        Job one = bench.NewJob(), two = bench.NewJob();
        await (await one.BuildAsync(Out(Graph()), default)).DisposeAsync();
        await (await two.BuildAsync(Out(Graph()), default)).DisposeAsync();
        bench.Results.Delete("worker::top1");
        await bench.Solver.SpoilAsync(result => (string)result.Value == "top1", IsLoss);
        foreach (var job in new[] { one, two })
        {
            await using var result = await job.BuildAsync(Out(Graph()), default);
            Assert.Equal("top2", result.Result!.Value);
        }
        await one.DiscardAsync();
        await two.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }
}
