using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>
/// A pseudo terminal, held by its controlling end: what is written here a program reads from its terminal, what the
/// program prints is read here. One reader and one writer at a time.
/// </summary>
public sealed unsafe class PseudoTerminal : IDisposable
{
    private const nuint GetNumber = 0x80045430;
    private const nuint SetLock = 0x40045431;
    private const nuint SetWindowSize = 0x5414;

    private readonly SafeFileHandle _controller;

    private PseudoTerminal(SafeFileHandle controller, int number)
    {
        _controller = controller;
        Path = string.Create(CultureInfo.InvariantCulture, $"/dev/pts/{number}");
    }

    /// <summary>Where a program opens its end.</summary>
    public string Path { get; }

    /// <summary>Makes a terminal nobody uses yet.</summary>
    /// <exception cref="LinuxException">The system has no more of them, or no <c>/dev/pts</c>.</exception>
    public static PseudoTerminal Open()
    {
        var controller = LinuxFile.Open("/dev/ptmx", OpenFlags.ReadWrite | OpenFlags.NoControllingTerminal);
        try
        {
            int number, unlocked = 0;
            Control(controller, SetLock, &unlocked, "unlock");
            Control(controller, GetNumber, &number, "number");
            return new PseudoTerminal(controller, number);
        }
        catch
        {
            controller.Dispose();
            throw;
        }
    }

    /// <summary>Sets the size programs are told. They notice by SIGWINCH, which is the caller's to send.</summary>
    public void Resize(ushort rows, ushort columns)
    {
        var size = stackalloc ushort[] { rows, columns, 0, 0 };
        Control(_controller, SetWindowSize, size, "resize");
    }

    /// <summary>Reads what was printed, waiting for it; 0 once every program has closed its end.</summary>
    public int Read(Span<byte> buffer)
    {
        try
        {
            return RandomAccess.Read(_controller, buffer, 0);
        }
        catch (IOException exception) when ((Errno)exception.HResult == Errno.EIO)
        {
            return 0;
        }
    }

    /// <summary>Types. What nobody will read any more is dropped.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        try
        {
            RandomAccess.Write(_controller, bytes, 0);
        }
        catch (IOException exception) when ((Errno)exception.HResult == Errno.EIO)
        {
            // The program has closed its end.
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _controller.Dispose();

    private static void Control(SafeFileHandle controller, nuint request, void* argument, string operation)
    {
        if (NativeMethods.ioctl(controller, request, (nint)argument) != 0)
            throw LinuxException.Last("ioctl /dev/ptmx", operation);
    }
}
