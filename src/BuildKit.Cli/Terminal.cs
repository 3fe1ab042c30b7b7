using System.Runtime.InteropServices;

namespace BuildKit.Cli;

/// <summary>What is asked of a terminal; the Console class would set one up, which costs time a build does not need.</summary>
internal static partial class Terminal
{
    private const ulong GetWindowSize = 0x5413;

    /// <summary>Whether a file descriptor is a terminal.</summary>
    public static bool IsTerminal(int descriptor) => IsTty(descriptor) == 1;

    /// <summary>Columns and rows of a terminal; 80 and 10 when it does not tell.</summary>
    public static (int Width, int Height) Size(int descriptor) =>
        Ioctl(descriptor, GetWindowSize, out var size) == 0 && size is { Columns: > 0, Rows: > 0 } ? (size.Columns, size.Rows) : (80, 10);

    [LibraryImport("libc", EntryPoint = "isatty")]
    private static partial int IsTty(int descriptor);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Ioctl(int descriptor, ulong request, out WindowSize size);

    [StructLayout(LayoutKind.Sequential)]
    private readonly struct WindowSize
    {
        public readonly ushort Rows;
        public readonly ushort Columns;
        private readonly ushort _width;
        private readonly ushort _height;
    }
}
