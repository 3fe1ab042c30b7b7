using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.Client.Progress;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Cli;

/// <summary>Numbers, times and colours as text: the tables of the golden set <c>progress</c>.</summary>
public sealed class ValueGoldenTests
{
    public static TheoryData<int> Units(string list) => Golden.List(Golden.Path("progress", "units.json"), list).Numbers();

    public static TheoryData<int> Colours() => Golden.List(Golden.Path("progress", "colours.json"), "cases").Numbers();

    [GoldenTheory]
    [MemberData(nameof(Units), "sizes")]
    public void Sizes_print_like_the_reference(int number)
    {
        var size = Golden.Json("progress", "units.json").GetProperty("sizes")[number];
        var bytes = long.Parse(size.GetProperty("bytes").GetString()!, CultureInfo.InvariantCulture);
        // The reference breaks down at the two ends of the range.
        if (size.GetProperty("f2").GetString()!.StartsWith('%'))
            return;
        Assert.Equal(size.GetProperty("f2").GetString(), GoNumber.Bytes(bytes));
        Assert.Equal(size.GetProperty("g").GetString(), GoNumber.ShortestBytes(bytes));
    }

    [GoldenTheory]
    [MemberData(nameof(Units), "durations")]
    public void Durations_print_like_the_reference(int number)
    {
        var duration = Golden.Json("progress", "units.json").GetProperty("durations")[number];
        Assert.Equal(duration.GetProperty("text").GetString(), GoTime.Duration(long.Parse(duration.GetProperty("ns").GetString()!, CultureInfo.InvariantCulture)));
    }

    [GoldenTheory]
    [MemberData(nameof(Colours))]
    public void Colours_and_their_warnings_are_the_reference_s(int number)
    {
        var wish = Golden.Json("progress", "colours.json").GetProperty("cases")[number];
        var text = wish.GetProperty("BUILDKIT_COLORS").GetString()!;
        var output = new MemoryStream();
        var log = new Log(output, isTerminal: false, new SteppedTime(DateTimeOffset.UnixEpoch));
        var colors = ProgressColors.FromEnvironment(name => name == "BUILDKIT_COLORS" ? text : null, log.Warn);
        Assert.Equal(wish.GetProperty("run").GetString(), colors.Run);
        Assert.Equal(wish.GetProperty("cancel").GetString(), colors.Cancel);
        Assert.Equal(wish.GetProperty("error").GetString(), colors.Error);
        Assert.Equal(wish.GetProperty("warning").GetString(), colors.Warning);
        var lines = Regex.Replace(Encoding.UTF8.GetString(output.ToArray()), "time=\"[^\"]*\"", "time=\"TIME\"");
        Assert.Equal(string.Concat(wish.GetProperty("stderr").EnumerateArray().Select(static line => line.GetString() + "\n")), lines);
    }
}
