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
    private readonly FileStream _reader;
    private readonly FileStream _writer;

    private PseudoTerminal(SafeFileHandle controller, int number)
    {
        _controller = controller;
        _reader = new FileStream(controller, FileAccess.Read, bufferSize: 0);
        _writer = new FileStream(controller, FileAccess.Write, bufferSize: 0);
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

    /// <summary>Sets the size of the terminal a program has at a path, for example <c>/proc/1/fd/0</c>; the program is
    /// told by SIGWINCH. False when there is no terminal.</summary>
    public static bool TryResize(string path, ushort rows, ushort columns)
    {
        if (LinuxFile.TryOpen(LinuxFile.Cwd, path, OpenFlags.ReadWrite | OpenFlags.NoControllingTerminal | OpenFlags.NonBlocking, 0, out var terminal) != Errno.None)
            return false;
        using (terminal)
        {
            var size = stackalloc ushort[] { rows, columns, 0, 0 };
            return NativeMethods.ioctl(terminal!, SetWindowSize, (nint)size) == 0;
        }
    }

    /// <summary>Reads what was printed, waiting for it; 0 once every program has closed its end.</summary>
    public int Read(Span<byte> buffer)
    {
        try
        {
            return _reader.Read(buffer);
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
            _writer.Write(bytes);
        }
        catch (IOException exception) when ((Errno)exception.HResult == Errno.EIO)
        {
            // The program has closed its end.
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reader.Dispose();
        _writer.Dispose();
        _controller.Dispose();
    }

    private static void Control(SafeFileHandle controller, nuint request, void* argument, string operation)
    {
        if (NativeMethods.ioctl(controller, request, (nint)argument) != 0)
            throw LinuxException.Last("ioctl /dev/ptmx", operation);
    }
}
