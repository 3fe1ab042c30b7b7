using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

public static unsafe partial class LinuxFile
{
    private const int Small = 64 << 10;

    /// <summary>
    /// Copies the bytes of one open file into another, empty one: a small one through memory, which is quicker than
    /// asking the kernel to; a larger one by sharing blocks where the file system can (reflink), else inside the
    /// kernel, else through memory.
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
        if (size < Small)
            return CopyThroughMemory(source, target, 0, size, cancellationToken);
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
                return CopyThroughMemory(source, target, done, size, cancellationToken);
            if (LinuxException.LastErrno != Errno.EINTR)
                throw LinuxException.Last("copy_file_range", "");
        }
    }

    // Both files stand at the offset reached so far.
    private static long CopyThroughMemory(SafeFileHandle source, SafeFileHandle target, long done, long size, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(size < Small ? Small : 256 << 10);
        try
        {
            fixed (byte* start = buffer)
            {
                while (true)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    var length = NativeMethods.read(source, start, (nuint)buffer.Length);
                    if (length < 0)
                    {
                        if (LinuxException.LastErrno == Errno.EINTR)
                            continue;
                        throw LinuxException.Last("read", "");
                    }
                    for (nint written = 0; written < length;)
                    {
                        var more = NativeMethods.write(target, start + written, (nuint)(length - written));
                        if (more >= 0)
                            written += more;
                        else if (LinuxException.LastErrno != Errno.EINTR)
                            throw LinuxException.Last("write", "");
                    }
                    done += length;
                    // A read that stops short where the file is said to end has seen its end. Files of the kernel's own
                    // say that they are empty: those are read until nothing comes.
                    if (length == 0 || (size > 0 && done >= size && length < buffer.Length))
                        return done;
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
