namespace BuildKit.Linux;

/// <summary>The bits of <c>st_mode</c>.</summary>
public static class UnixMode
{
    public const uint TypeMask = 0xF000;
    public const uint Socket = 0xC000;
    public const uint Symlink = 0xA000;
    public const uint Regular = 0x8000;
    public const uint Block = 0x6000;
    public const uint Directory = 0x4000;
    public const uint Char = 0x2000;
    public const uint Fifo = 0x1000;
    public const uint SetUid = 0x800;
    public const uint SetGid = 0x400;
    public const uint Sticky = 0x200;

    /// <summary>Permission bits with setuid, setgid and sticky: 07777.</summary>
    public const uint PermissionMask = 0xFFF;

    /// <summary>rwx bits only: 0777.</summary>
    public const uint AccessMask = 0x1FF;
}

/// <summary>File mode bits as Go's <c>os.FileMode</c> numbers them (spec 01 §1.5); they travel in fsutil stats.</summary>
public static class GoFileMode
{
    public const uint Directory = 0x8000_0000;
    public const uint Append = 0x4000_0000;
    public const uint Exclusive = 0x2000_0000;
    public const uint Temporary = 0x1000_0000;
    public const uint Symlink = 0x0800_0000;
    public const uint Device = 0x0400_0000;
    public const uint NamedPipe = 0x0200_0000;
    public const uint Socket = 0x0100_0000;
    public const uint SetUid = 0x0080_0000;
    public const uint SetGid = 0x0040_0000;
    public const uint CharDevice = 0x0020_0000;
    public const uint Sticky = 0x0010_0000;
    public const uint Irregular = 0x0008_0000;

    /// <summary>All bits that say what kind of file it is; a regular file has none of them.</summary>
    public const uint TypeMask = Directory | Symlink | NamedPipe | Socket | Device | CharDevice | Irregular;

    /// <summary>The Go bits of a <c>st_mode</c>.</summary>
    public static uint FromUnix(uint mode)
    {
        var go = mode & UnixMode.AccessMask;
        go |= (mode & UnixMode.TypeMask) switch
        {
            UnixMode.Directory => Directory,
            UnixMode.Symlink => Symlink,
            UnixMode.Block => Device,
            UnixMode.Char => Device | CharDevice,
            UnixMode.Fifo => NamedPipe,
            UnixMode.Socket => Socket,
            _ => 0,
        };
        if ((mode & UnixMode.SetUid) != 0)
            go |= SetUid;
        if ((mode & UnixMode.SetGid) != 0)
            go |= SetGid;
        if ((mode & UnixMode.Sticky) != 0)
            go |= Sticky;
        return go;
    }

    /// <summary>The <c>st_mode</c> of Go bits.</summary>
    public static uint ToUnix(uint go)
    {
        var mode = go & UnixMode.AccessMask;
        mode |= (go & TypeMask) switch
        {
            0 => UnixMode.Regular,
            Directory => UnixMode.Directory,
            Symlink => UnixMode.Symlink,
            Device => UnixMode.Block,
            Device | CharDevice => UnixMode.Char,
            NamedPipe => UnixMode.Fifo,
            Socket => UnixMode.Socket,
            _ => 0,
        };
        if ((go & SetUid) != 0)
            mode |= UnixMode.SetUid;
        if ((go & SetGid) != 0)
            mode |= UnixMode.SetGid;
        if ((go & Sticky) != 0)
            mode |= UnixMode.Sticky;
        return mode;
    }
}
