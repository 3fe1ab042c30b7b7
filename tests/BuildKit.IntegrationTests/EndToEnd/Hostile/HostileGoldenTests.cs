using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>How a case ended.</summary>
/// <param name="Result">As in <c>expect.result</c> of the set; <c>open</c> when a connection got no answer and was kept.</param>
/// <param name="Text">All the client was told.</param>
/// <param name="Output">Directory that may hold exported files.</param>
internal sealed record HostileOutcome(string Result, string Text, string? Output = null);

/// <summary>The golden set <c>hostile</c>: whatever the input, nothing escapes and the daemon goes on working.</summary>
public sealed class HostileGoldenTests(HostileFixture fixture) : IClassFixture<HostileFixture>
{
    public static TheoryData<string> Cases() => [.. Golden.Index("hostile", "cases").Select(c => c.GetProperty("file").GetString()!).Where(file => File.Exists(Golden.Path("hostile", file)))];

    [EndToEndGoldenTheory]
    [MemberData(nameof(Cases))]
    public async Task Nothing_escapes(string file)
    {
        var hostile = Golden.Json("hostile", file);
        var expect = hostile.GetProperty("expect");
        await fixture.PrepareAsync(hostile.TryGetProperty("fresh_state", out var fresh) && fresh.GetBoolean());
        fixture.Serve(hostile.TryGetProperty("registry", out var routes) ? routes : null);
        using var temp = new TempDirectory();
        var mountsBefore = fixture.Daemon.MountsBelowRoot();
        var processesBefore = fixture.Descendants();
        var limits = hostile.GetProperty("limits");
        var limit = TimeSpan.FromSeconds(limits.GetProperty("seconds").GetDouble());
        var kind = hostile.GetProperty("kind").GetString();
        var outcome = kind switch
        {
            "build" => await HostileBuild.RunAsync(fixture, hostile, temp, limit),
            "unary" => await HostileCall.RunAsync(fixture, hostile, limit),
            "fsync" => await HostileSync.RunAsync(fixture, hostile, limit),
            "raw" => await HostileConnection.RunAsync(fixture, hostile),
            _ => throw new InvalidOperationException($"a kind this test does not know: {kind}"),
        };
        await AssertExpectedAsync(expect, outcome);
        await AssertNothingHappenedAsync(expect, outcome, limits.GetProperty("memory_mb").GetInt64());
        await AssertNothingIsLeftAsync(mountsBefore, processesBefore);
    }

    private async Task AssertExpectedAsync(JsonElement expect, HostileOutcome outcome)
    {
        Assert.True(fixture.Daemon.IsRunning, fixture.Daemon.Log);
        string[] accepted = expect.GetProperty("result").GetString() switch
        {
            "any" => [outcome.Result],
            "refused" or "closed" => ["refused", "closed"],
            var one => [one!],
        };
        Assert.True(accepted.Contains(outcome.Result), $"expected {string.Join(" or ", accepted)}, ended with {outcome.Result}\n{Short(outcome.Text)}");
        var text = outcome.Text;
        if (outcome.Result == "error" && expect.TryGetProperty("error_regex", out var regex))
            Assert.Matches(new Regex(regex.GetString()!, RegexOptions.None, TimeSpan.FromSeconds(5)), text);
        if (expect.TryGetProperty("log_absent", out var absent))
            Assert.DoesNotContain(absent.GetString()!, text, StringComparison.Ordinal);
        if (expect.TryGetProperty("client_output_max_bytes", out var most))
            Assert.InRange(Encoding.UTF8.GetByteCount(text), 0, most.GetInt64());
        if (outcome.Result != "ok")
            return;
        if (expect.TryGetProperty("cached_steps_min", out var cached))
            Assert.InRange(text.Split('\n').Count(line => line.EndsWith(" CACHED", StringComparison.Ordinal)), cached.GetInt32(), int.MaxValue);
        foreach (var member in new[] { "output_has", "output_if_ok" })
        {
            foreach (var file in expect.TryGetProperty(member, out var files) ? files.EnumerateObject() : default)
                Assert.Equal(file.Value.GetString(), await File.ReadAllTextAsync(Path.Combine(outcome.Output!, file.Name)));
        }
        if (expect.TryGetProperty("output_count_min", out var count))
            Assert.InRange(Directory.GetFileSystemEntries(outcome.Output!, "*", SearchOption.AllDirectories).Length, count.GetInt32(), int.MaxValue);
    }

    private async Task AssertNothingHappenedAsync(JsonElement expect, HostileOutcome outcome, long memoryMegabytes)
    {
        Assert.DoesNotContain(HostileFixture.Token, outcome.Text, StringComparison.Ordinal);
        if (Directory.Exists(outcome.Output))
        {
            var leak = await Programs.RunAsync("grep", ["-rlF", "--devices=skip", HostileFixture.Token, outcome.Output]);
            Assert.True(leak.ExitCode == 1, $"leaked: {leak.Text}");
        }
        fixture.AssertCanaryUntouched();
        if (!expect.TryGetProperty("canary_hits", out var hits) || hits.GetString() != "any")
            Assert.Empty(fixture.CanaryRequests);
        var status = File.ReadLines($"/proc/{fixture.Daemon.Id}/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        Assert.InRange(long.Parse(status.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024, 0, memoryMegabytes);
    }

    private async Task AssertNothingIsLeftAsync(IReadOnlyList<string> mountsBefore, IReadOnlyCollection<int> processesBefore)
    {
        await fixture.AssertWorksAsync();
        List<string> left = [];
        for (var i = 0; i < 60; i++)
        {
            var mounts = fixture.Daemon.MountsBelowRoot();
            left = mounts.Count > mountsBefore.Count ? [.. mounts] : [];
            left.AddRange(fixture.Descendants().Except(processesBefore).Select(id => $"process {id}: {CommandLine(id)}"));
            if (left.Count == 0)
                return;
            await Task.Delay(100);
        }
        Assert.Fail($"left over: {string.Join('\n', left)}");
    }

    private static string CommandLine(int id)
    {
        try
        {
            return File.ReadAllText($"/proc/{id}/cmdline").Replace('\0', ' ');
        }
        catch (IOException)
        {
            return "(ended)";
        }
    }

    private static string Short(string text) => text.Length < 6000 ? text : text[..3000] + "\n…\n" + text[^3000..];
}
