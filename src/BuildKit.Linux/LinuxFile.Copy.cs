using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

public static unsafe partial class LinuxFile
{
    /// <summary>
    /// Copies the bytes of one open file into another, empty one: by sharing blocks where the file system can
    /// (reflink), else inside the kernel, else through memory.
    /// </summary>
    /// <param name="source">Open for reading, at offset 0.</param>
    /// <param name="target">Open for writing, empty, at offset 0.</param>
    /// <param name="size">Size of the source, to choose the way; the copy goes on to the real end.</param>
    /// <param name="cancellationToken">Looked at between blocks.</param>
    /// <returns>Bytes copied.</returns>
    public static long CopyContents(SafeFileHandle source, SafeFileHandle target, long size, CancellationToken cancellationToken)
    {
        const nuint FiClone = 0x40049409;
        const int Block = 64 << 20;
        if (size == 0)
            return CopyThroughMemory(source, target, 0, cancellationToken);
        if (NativeMethods.ioctl(target, FiClone, source.DangerousGetHandle()) == 0)
            return size;
        long done = 0;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var copied = NativeMethods.copy_file_range(source, null, target, null, Block, 0);
            if (copied > 0)
            {
                done += copied;
                continue;
            }
            if (copied == 0 && done >= size)
                return done;
            if (copied == 0 || (done == 0 && LinuxException.LastErrno is Errno.EXDEV or Errno.EINVAL or Errno.ENOSYS or Errno.EOPNOTSUPP or Errno.EPERM or Errno.EBADF or Errno.ETXTBSY or Errno.EIO))
                return CopyThroughMemory(source, target, done, cancellationToken);
            if (LinuxException.LastErrno != Errno.EINTR)
                throw LinuxException.Last("copy_file_range", "");
        }
    }

    private static long CopyThroughMemory(SafeFileHandle source, SafeFileHandle target, long offset, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(256 << 10);
        try
        {
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var read = RandomAccess.Read(source, buffer, offset);
                if (read == 0)
                    return offset;
                RandomAccess.Write(target, buffer.AsSpan(0, read), offset);
                offset += read;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
