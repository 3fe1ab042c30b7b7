using BuildKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>When two files of the same name count as equal (spec 06 §2.3, "same").</summary>
internal static class FileComparison
{
    internal static bool IsSame(SafeFileHandle lowerRoot, string lowerPath, in FileStat lower, SafeFileHandle upperRoot, string upperPath, in FileStat upper)
    {
        if (lower.IsSameInode(upper))
            return true;
        if (lower.Mode != upper.Mode || lower.Uid != upper.Uid || lower.Gid != upper.Gid
            || lower.RdevMajor != upper.RdevMajor || lower.RdevMinor != upper.RdevMinor)
            return false;
        var lowerCapability = Xattr.Get(lowerRoot, lowerPath, "security.capability");
        var upperCapability = Xattr.Get(upperRoot, upperPath, "security.capability");
        if (!(lowerCapability ?? []).AsSpan().SequenceEqual(upperCapability ?? []))
            return false;
        if (lower.IsDirectory)
            return true;
        if (lower.Size != upper.Size || lower.Mtime.Seconds != upper.Mtime.Seconds)
            return false;
        if (lower.Mtime.Nanoseconds != 0 || upper.Mtime.Nanoseconds != 0)
            return lower.Mtime.Nanoseconds == upper.Mtime.Nanoseconds;
        // Times without a fraction may have been cut by an archive: the content decides.
        if (upper.IsSymlink)
            return LinuxFile.ReadLink(lowerRoot, lowerPath) == LinuxFile.ReadLink(upperRoot, upperPath);
        return upper.Size == 0 || !upper.IsRegular || HaveSameContent(lowerRoot, lowerPath, upperRoot, upperPath);
    }

    private static bool HaveSameContent(SafeFileHandle lowerRoot, string lowerPath, SafeFileHandle upperRoot, string upperPath)
    {
        using var lower = LinuxFile.Open(lowerRoot, lowerPath, OpenFlags.ReadOnly | OpenFlags.NoFollow);
        using var upper = LinuxFile.Open(upperRoot, upperPath, OpenFlags.ReadOnly | OpenFlags.NoFollow);
        var lowerBuffer = new byte[64 << 10];
        var upperBuffer = new byte[64 << 10];
        for (long offset = 0; ;)
        {
            var lowerRead = ReadFully(lower, lowerBuffer, offset);
            var upperRead = ReadFully(upper, upperBuffer, offset);
            if (!lowerBuffer.AsSpan(0, lowerRead).SequenceEqual(upperBuffer.AsSpan(0, upperRead)))
                return false;
            if (lowerRead < lowerBuffer.Length)
                return true;
            offset += lowerRead;
        }
    }

    private static int ReadFully(SafeFileHandle file, Span<byte> buffer, long offset)
    {
        var total = 0;
        while (total < buffer.Length)
        {
            var read = RandomAccess.Read(file, buffer[total..], offset + total);
            if (read == 0)
                break;
            total += read;
        }
        return total;
    }
}
