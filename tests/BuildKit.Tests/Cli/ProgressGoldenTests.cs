using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using BuildKit.Cli.Progress;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Cli;

/// <summary>Every status stream of the golden set, drawn in every mode, byte for byte.</summary>
public sealed class ProgressGoldenTests
{
    public static TheoryData<string> Streams() => Golden.Index("progress", "cases", "stream").Names();

    public static TheoryData<string, string> Terminals()
    {
        var cases = new TheoryData<string, string>();
        foreach (var name in Golden.Index("progress", "cases", "stream").Select(static c => c.GetProperty("name").GetString()!))
        {
            foreach (var file in Directory.GetFiles(Golden.Path("progress", "stream", name), "tty-*.json").Order(StringComparer.Ordinal))
                cases.Add(name, Path.GetFileNameWithoutExtension(file));
        }
        return cases;
    }

    [GoldenTheory]
    [MemberData(nameof(Streams))]
    public void Plain_output_is_the_reference_s(string name)
    {
        var expected = Golden.Path("progress", "stream", name, "plain.txt");
        if (!File.Exists(expected))
            return;
        var output = new MemoryStream();
        Drive(name, isTerminal: false, (options, time) => new PlainDisplay(output, options, time));
        Assert.Equal(Encoding.Latin1.GetString(File.ReadAllBytes(expected)), Encoding.Latin1.GetString(output.ToArray()));
    }

    [GoldenTheory]
    [MemberData(nameof(Streams))]
    public void Raw_json_is_the_stream_itself(string name)
    {
        var output = new MemoryStream();
        Drive(name, isTerminal: false, (_, _) => new RawJsonDisplay(output));
        Assert.Equal(File.ReadAllText(Golden.Path("progress", "stream", name, "stream.jsonl")), Encoding.UTF8.GetString(output.ToArray()));
    }

    [GoldenTheory]
    [MemberData(nameof(Terminals))]
    public void A_terminal_shows_what_the_reference_shows(string name, string terminal)
    {
        using var expected = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("progress", "stream", name, terminal + ".json")));
        var size = (expected.RootElement.GetProperty("width").GetInt32(), expected.RootElement.GetProperty("height").GetInt32());
        var output = new MemoryStream();
        var draws = new List<int>();
        Drive(name, isTerminal: true, (options, time) => new ConsoleDisplay(output, () => size, options, time), () => draws.Add((int)output.Length));

        var all = output.ToArray();
        var begin = draws.Count > 1 ? draws[^2] : 0;
        var final = File.ReadAllBytes(Golden.Path("progress", "stream", name, terminal + ".final.raw"));
        Assert.Equal(Encoding.Latin1.GetString(final), Encoding.Latin1.GetString(all[begin..]));
        Assert.Equal(expected.RootElement.GetProperty("allSha256").GetString(), Convert.ToHexStringLower(SHA256.HashData(all)));
    }

    private static void Drive(string name, bool isTerminal, Func<DisplayOptions, TimeProvider, IProgressDisplay> create, Action? drawn = null)
    {
        using var description = JsonDocument.Parse(File.ReadAllBytes(Golden.Path("progress", "stream", name, "case.json")));
        var root = description.RootElement;
        var environment = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var variable in root.GetProperty("env").EnumerateObject().Concat(isTerminal ? root.GetProperty("ttyEnv").EnumerateObject() : []))
            environment[variable.Name] = variable.Value.GetString()!;
        var colors = ProgressColors.FromEnvironment(environment.GetValueOrDefault, static (_, _) => { });
        var options = DisplayOptions.FromEnvironment(environment.GetValueOrDefault, colors) with
        {
            TextDescription = root.GetProperty("textDesc").GetString()!,
            ConsoleDescription = root.GetProperty("consoleDesc").GetString()!,
        };
        if (root.GetProperty("phase").GetString() is { Length: > 0 } phase)
            options = options with { Phase = phase };

        var epoch = root.GetProperty("epoch").GetDateTimeOffset();
        var time = new SteppedTime(epoch);
        var display = create(options, time);
        var lines = File.ReadAllLines(Golden.Path("progress", "stream", name, "stream.jsonl"));
        var tick = (int)options.Tick.TotalMilliseconds;
        var nextTick = tick;
        var index = 0;
        foreach (var received in root.GetProperty("receivedMs").EnumerateArray().Select(static ms => ms.GetInt32()))
        {
            TickUntil(received);
            time.Set(epoch.AddMilliseconds(received));
            display.Update(StatusJsonReader.Read(lines[index++]));
            drawn?.Invoke();
            nextTick = received + tick;
        }
        var end = root.GetProperty("endMs").GetInt32();
        TickUntil(end);
        time.Set(epoch.AddMilliseconds(end));
        display.Finish();
        drawn?.Invoke();

        void TickUntil(int limit)
        {
            for (; nextTick < limit; nextTick += tick)
            {
                time.Set(epoch.AddMilliseconds(nextTick));
                display.Refresh();
                drawn?.Invoke();
            }
        }
    }
}
