using System.Globalization;

namespace BuildKit.Client.Progress;

/// <summary>Numbers as the reference prints them (spec 08 §3.1, trap 13).</summary>
public static class GoNumber
{
    private static readonly string[] Units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

    /// <summary>Seconds of a number of nanoseconds.</summary>
    public static double Seconds(long nanoseconds) => (nanoseconds / 1_000_000_000) + ((nanoseconds % 1_000_000_000) / 1e9);

    /// <summary>A number with fixed decimals (0 to 3), the exact binary value rounded half to even.</summary>
    public static string Fixed(double value, int decimals)
    {
        var bits = BitConverter.DoubleToUInt64Bits(Math.Abs(value));
        var exponent = (int)(bits >> 52) - 1075;
        if (exponent is >= 0 or < -120)
            return value.ToString("F" + decimals.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        var scale = decimals switch { 0 => 1u, 1 => 10u, 2 => 100u, _ => 1000u };
        UInt128 scaled = (UInt128)((bits & ((1UL << 52) - 1)) | (1UL << 52)) * scale;
        var whole = (ulong)(scaled >> -exponent);
        var rest = scaled - ((UInt128)whole << -exponent);
        var half = UInt128.One << (-exponent - 1);
        if (rest > half || (rest == half && (whole & 1) == 1))
            whole++;
        var sign = value < 0 ? "-" : "";
        return decimals == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{sign}{whole}")
            : string.Create(CultureInfo.InvariantCulture, $"{sign}{whole / scale}.{(whole % scale).ToString("D" + decimals.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)}");
    }

    /// <summary>A number of bytes: whole below 1000, else with two decimals and a decimal unit.</summary>
    public static string Bytes(long value)
    {
        var (scaled, unit) = Scale(value);
        return unit == 0 ? value.ToString(CultureInfo.InvariantCulture) + "B" : Fixed(scaled, 2) + Units[unit];
    }

    /// <summary>A number of bytes with as many decimals as it takes.</summary>
    public static string ShortestBytes(long value)
    {
        var (scaled, unit) = Scale(value);
        return scaled.ToString(CultureInfo.InvariantCulture) + Units[unit];
    }

    private static (double Scaled, int Unit) Scale(long value)
    {
        var unit = 0;
        double divisor = 1;
        while (unit < Units.Length - 1 && Math.Abs((double)value) >= divisor * 1000)
        {
            divisor *= 1000;
            unit++;
        }
        return (value / divisor, unit);
    }
}
