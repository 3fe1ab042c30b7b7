using System.Security.Cryptography;

namespace BuildKit.Worker.Executor;

/// <summary>Names of containers.</summary>
public static class RandomContainerId
{
    /// <summary>A name nobody else has: 25 characters of <c>0-9a-z</c>.</summary>
    public static string New() => RandomNumberGenerator.GetString("0123456789abcdefghijklmnopqrstuvwxyz", 25);
}
