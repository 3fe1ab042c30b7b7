using System.Security.Cryptography;

namespace BuildKit.Solver;

/// <summary>Random identifiers: 25 base-36 characters, as everywhere in the ecosystem.</summary>
internal static class RandomId
{
    public static string New() => RandomNumberGenerator.GetString("0123456789abcdefghijklmnopqrstuvwxyz", 25);
}
