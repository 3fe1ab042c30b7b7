using System.Runtime.InteropServices;

namespace BuildKit.Cli;

/// <summary>
/// A standard stream of the process, by plain read and write calls: a FileStream would keep a position of its own, and
/// processes that share a redirected file would write over each other.
/// </summary>
internal sealed partial class StandardStream(int descriptor) : Stream
{
    private const int Interrupted = 4;
    private const int TryAgain = 11;
    private const short PollOut = 4;
    private const short PollIn = 1;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        while (true)
        {
            var length = ReadBytes(descriptor, ref MemoryMarshal.GetReference(buffer), (nuint)buffer.Length);
            if (length >= 0)
                return (int)length;
            WaitAfterError(PollIn, "read");
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var length = WriteBytes(descriptor, in MemoryMarshal.GetReference(buffer), (nuint)buffer.Length);
            if (length >= 0)
                buffer = buffer[(int)length..];
            else
                WaitAfterError(PollOut, "write");
        }
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    private void WaitAfterError(short events, string call)
    {
        var error = Marshal.GetLastPInvokeError();
        if (error == TryAgain)
            Poll(new PollEntry { Descriptor = descriptor, Events = events }, 1, -1);
        else if (error != Interrupted)
            throw new IOException($"{call} of file descriptor {descriptor}: {Marshal.GetPInvokeErrorMessage(error)}");
    }

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadBytes(int descriptor, ref byte buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteBytes(int descriptor, in byte buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(in PollEntry entries, ulong count, int timeout);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollEntry
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }
}
