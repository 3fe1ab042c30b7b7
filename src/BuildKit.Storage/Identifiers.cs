using System.Numerics;

namespace BuildKit.Storage;

/// <summary>Random names of records, snapshots and leases.</summary>
public static class Identifiers
{
    private const string Digits = "0123456789abcdefghijklmnopqrstuvwxyz";

    /// <summary>25 lower-case base-36 characters (spec 06, head of the chapter).</summary>
    public static string New()
    {
        Span<byte> random = stackalloc byte[17];
        Random.Shared.NextBytes(random); // unique is enough; nothing relies on a name being secret
        random[0] |= 0x80; // the top bit set: the number always has enough digits
        var number = new BigInteger(random, isUnsigned: true, isBigEndian: true);
        Span<char> text = stackalloc char[32];
        var at = text.Length;
        while (!number.IsZero)
        {
            number = BigInteger.DivRem(number, 36, out var digit);
            text[--at] = Digits[(int)digit];
        }

        return new string(text.Slice(at + 1, 25));
    }
}
