namespace BuildKit.Dockerfile.Contexts;

/// <summary>Recognises the first block of a tar file.</summary>
internal static class TarHeader
{
    private const int Block = 512;
    private const int ChecksumAt = 148;

    /// <summary>Whether the bytes start with a block whose checksum is right.</summary>
    public static bool IsValid(ReadOnlySpan<byte> head)
    {
        if (head.Length < Block)
            return false;
        var wanted = 0;
        foreach (var digit in head.Slice(ChecksumAt, 8))
        {
            if (digit is >= (byte)'0' and <= (byte)'7')
                wanted = (wanted * 8) + digit - '0';
            else if (digit is not ((byte)' ' or 0))
                return false;
        }
        var sum = 0;
        for (var i = 0; i < Block; i++)
            sum += i is >= ChecksumAt and < ChecksumAt + 8 ? ' ' : head[i];
        return wanted > 0 && sum == wanted;
    }
}
