using System.Numerics;
using System.Security.Cryptography;

namespace BuildKit.Session.Transport;

/// <summary>Keys of the request metadata of <c>Control/Session</c> (spec 01 §2).</summary>
public static class SessionMetadata
{
    /// <summary>The session's ID.</summary>
    public const string Id = "x-docker-expose-session-uuid";

    /// <summary>The shared key of local sources, sent even if empty.</summary>
    public const string SharedKey = "x-docker-expose-session-sharedkey";

    /// <summary>One value per method served.</summary>
    public const string Method = "x-docker-expose-session-grpc-method";
}

/// <summary>Random IDs as the reference makes them: 25 characters of <c>[0-9a-z]</c>.</summary>
public static class SessionId
{
    private const string Digits = "0123456789abcdefghijklmnopqrstuvwxyz";

    /// <summary>A new ID for a session, a build or a reference.</summary>
    public static string New()
    {
        Span<byte> random = stackalloc byte[17];
        RandomNumberGenerator.Fill(random);
        random[0] |= 0x80;
        var number = new BigInteger(random, isUnsigned: true, isBigEndian: true);
        Span<char> reversed = stackalloc char[32];
        var count = 0;
        for (; !number.IsZero; number /= 36)
            reversed[count++] = Digits[(int)(number % 36)];
        return string.Create(25, reversed[..count].ToString(), static (id, digits) =>
        {
            for (var i = 0; i < id.Length; i++)
                id[i] = digits[digits.Length - 2 - i];
        });
    }
}
