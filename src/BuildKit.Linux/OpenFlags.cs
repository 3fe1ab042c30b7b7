using System.Runtime.InteropServices;

namespace BuildKit.Linux;

/// <summary>Flags of <c>open(2)</c> with the values of the running CPU. Close-on-exec is always added.</summary>
public static class OpenFlags
{
    private static readonly bool IsArm = RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm;

    public const int ReadOnly = 0;
    public const int WriteOnly = 1;
    public const int ReadWrite = 2;
    public const int Create = 0x40;
    public const int Exclusive = 0x80;
    public const int NoControllingTerminal = 0x100;
    public const int Truncate = 0x200;
    public const int Append = 0x400;
    public const int NonBlocking = 0x800;
    public const int CloseOnExec = 0x80000;

    /// <summary>Names a file without opening it: enough for *at calls and stat.</summary>
    public const int PathOnly = 0x200000;

    /// <summary>Fails with ENOTDIR unless the path is a directory.</summary>
    public static int Directory => IsArm ? 0x4000 : 0x10000;

    /// <summary>Fails with ELOOP if the last component is a symlink.</summary>
    public static int NoFollow => IsArm ? 0x8000 : 0x20000;
}

/// <summary>How <c>openat2(2)</c> resolves.</summary>
[Flags]
public enum ResolveFlags : ulong
{
    None = 0,
    NoCrossDevice = 1,
    NoMagicLinks = 2,
    NoSymlinks = 4,
    Beneath = 8,
    InRoot = 16,
}
