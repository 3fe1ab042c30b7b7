using BuildKit.Oci;

namespace BuildKit.Tests.Oci;

/// <summary>Durations as Go reads and writes them, and what it says of what is none.</summary>
public sealed class GoDurationTests
{
    [Theory]
    [InlineData("0", 0)]
    [InlineData("-0", 0)]
    [InlineData("+0", 0)]
    [InlineData("0s", 0)]
    [InlineData("5s", 5_000_000_000)]
    [InlineData("+5s", 5_000_000_000)]
    [InlineData("-5s", -5_000_000_000)]
    [InlineData("5.s", 5_000_000_000)]
    [InlineData(".5s", 500_000_000)]
    [InlineData("-.5s", -500_000_000)]
    [InlineData("1.0s", 1_000_000_000)]
    [InlineData("1.004s", 1_004_000_000)]
    [InlineData("100.00100s", 100_001_000_000)]
    [InlineData("10ns", 10)]
    [InlineData("11us", 11_000)]
    [InlineData("12\u00b5s", 12_000)]
    [InlineData("12\u03bcs", 12_000)]
    [InlineData("13ms", 13_000_000)]
    [InlineData("15m", 900_000_000_000)]
    [InlineData("16h", 57_600_000_000_000)]
    [InlineData("3h30m", 12_600_000_000_000)]
    [InlineData("10.5s4m", 250_500_000_000)]
    [InlineData("1h2m3s4ms5us6ns", 3_723_004_005_006)]
    [InlineData("39h9m14.425s", 140_954_425_000_000)]
    [InlineData("1s1s", 2_000_000_000)]
    [InlineData("0.3333333333333333333h", 1_200_000_000_000)]
    [InlineData("0.100000000000000000000h", 360_000_000_000)]
    [InlineData("0.9223372036854775807h", 3_320_413_933_267)]
    [InlineData("0.9ns", 0)]
    [InlineData("9007199254740993ns", 9_007_199_254_740_993)]
    [InlineData("9223372036854775807ns", long.MaxValue)]
    [InlineData("9223372036854775.807us", long.MaxValue)]
    [InlineData("9223372036s854ms775us807ns", long.MaxValue)]
    [InlineData("-9223372036854775808ns", long.MinValue)]
    [InlineData("-9223372036854775.808us", long.MinValue)]
    public void A_duration_is_read_in_nanoseconds(string text, long nanoseconds)
    {
        Assert.Equal(nanoseconds, GoDuration.ParseNanoseconds(text));
        Assert.True(GoDuration.TryParse(text, out _));
    }

    [Theory]
    [InlineData("", "time: invalid duration \"\"")]
    [InlineData("-", "time: invalid duration \"-\"")]
    [InlineData("s", "time: invalid duration \"s\"")]
    [InlineData("x", "time: invalid duration \"x\"")]
    [InlineData("soon", "time: invalid duration \"soon\"")]
    [InlineData(".", "time: invalid duration \".\"")]
    [InlineData("-.", "time: invalid duration \"-.\"")]
    [InlineData(".s", "time: invalid duration \".s\"")]
    [InlineData("+.s", "time: invalid duration \"+.s\"")]
    [InlineData("--5s", "time: invalid duration \"--5s\"")]
    [InlineData(" 5s", "time: invalid duration \" 5s\"")]
    [InlineData("1s 5s", "time: unknown unit \"s \" in duration \"1s 5s\"")]
    [InlineData("5s-3s", "time: unknown unit \"s-\" in duration \"5s-3s\"")]
    [InlineData("1", "time: missing unit in duration \"1\"")]
    [InlineData("10", "time: missing unit in duration \"10\"")]
    [InlineData("00", "time: missing unit in duration \"00\"")]
    [InlineData("1.5", "time: missing unit in duration \"1.5\"")]
    [InlineData("3000000", "time: missing unit in duration \"3000000\"")]
    [InlineData("1.2.3s", "time: missing unit in duration \"1.2.3s\"")]
    [InlineData("1q", "time: unknown unit \"q\" in duration \"1q\"")]
    [InlineData("1d", "time: unknown unit \"d\" in duration \"1d\"")]
    [InlineData("1S", "time: unknown unit \"S\" in duration \"1S\"")]
    [InlineData("1 s", "time: unknown unit \" s\" in duration \"1 s\"")]
    [InlineData("1e3s", "time: unknown unit \"e\" in duration \"1e3s\"")]
    [InlineData("1\"\\", "time: unknown unit \"\\\"\\\\\" in duration \"1\\\"\\\\\"")]
    [InlineData("1\u00e9", "time: unknown unit \"\\xc3\\xa9\" in duration \"1\\xc3\\xa9\"")]
    [InlineData("1\n", "time: unknown unit \"\\x0a\" in duration \"1\\x0a\"")]
    [InlineData("1\u007f", "time: unknown unit \"\u007f\" in duration \"1\u007f\"")]
    [InlineData("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\"")]
    [InlineData("9223372036854775.808us", "time: invalid duration \"9223372036854775.808us\"")]
    [InlineData("9223372036854ms775us808ns", "time: invalid duration \"9223372036854ms775us808ns\"")]
    [InlineData("9223372036854775810ns", "time: invalid duration \"9223372036854775810ns\"")]
    [InlineData("-9223372036854775809ns", "time: invalid duration \"-9223372036854775809ns\"")]
    [InlineData("99999999999999999999s", "time: invalid duration \"99999999999999999999s\"")]
    [InlineData("2562048h", "time: invalid duration \"2562048h\"")]
    [InlineData("9223372036854775808ns9223372036854775808ns", "time: invalid duration \"9223372036854775808ns9223372036854775808ns\"")]
    public void What_is_no_duration_is_refused_in_gos_words(string text, string error)
    {
        Assert.Equal(error, Assert.Throws<FormatException>(() => GoDuration.ParseNanoseconds(text)).Message);
        Assert.Equal(error, Assert.Throws<FormatException>(() => GoDuration.Parse(text)).Message);
        Assert.False(GoDuration.TryParse(text, out var none));
        Assert.Equal(TimeSpan.Zero, none);
    }

    [Theory]
    [InlineData("300ms", 3_000_000)]
    [InlineData("-1.5h", -54_000_000_000)]
    [InlineData("100ns", 1)]
    [InlineData("1ns", 1)]
    [InlineData("-1ns", -1)]
    [InlineData("150ns", 2)]
    [InlineData("0.5ns", 0)]
    [InlineData("9223372036854775807ns", 92_233_720_368_547_759)]
    public void Only_nothing_is_nothing_in_ticks(string text, long ticks) => Assert.Equal(TimeSpan.FromTicks(ticks), GoDuration.Parse(text));

    [Theory]
    [InlineData(0, "0s")]
    [InlineData(1, "1ns")]
    [InlineData(1100, "1.1µs")]
    [InlineData(2_200_000, "2.2ms")]
    [InlineData(3_300_000_000, "3.3s")]
    [InlineData(245_000_000_000, "4m5s")]
    [InlineData(245_001_000_000, "4m5.001s")]
    [InlineData(18_367_001_000_000, "5h6m7.001s")]
    [InlineData(480_000_000_001, "8m0.000000001s")]
    [InlineData(-90_000_000_000, "-1m30s")]
    [InlineData(long.MaxValue, "2562047h47m16.854775807s")]
    [InlineData(long.MinValue, "-2562047h47m16.854775808s")]
    public void Nanoseconds_are_written_and_read_again(long nanoseconds, string text)
    {
        Assert.Equal(text, GoDuration.Format(nanoseconds));
        Assert.Equal(nanoseconds, GoDuration.ParseNanoseconds(text));
    }
}
