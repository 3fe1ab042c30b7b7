using System.Diagnostics;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>One mount as <c>mount(2)</c> takes it, with containerd's option spelling (<c>ro</c>, <c>rbind</c>, <c>lowerdir=…</c>).</summary>
public readonly record struct MountPoint(string Type, string Source, IReadOnlyList<string> Options);

/// <summary>Mounting and unmounting.</summary>
public static unsafe class Mounts
{
    private const int PropagationMask = (int)(MountFlags.Private | MountFlags.Shared | MountFlags.Slave | MountFlags.Unbindable);

    /// <summary>Option data of <c>mount(2)</c> must fit in one page; longer overlay options take another way.</summary>
    private const int MaxData = 4096 - 512;

    /// <summary>Does mounts in order on one target; undoes what was done when one fails.</summary>
    public static void MountAll(IReadOnlyList<MountPoint> mounts, string target)
    {
        for (var i = 0; i < mounts.Count; i++)
        {
            try
            {
                Mount(mounts[i], target);
            }
            catch
            {
                while (i-- > 0)
                    TryUnmount(target, lazy: true);
                throw;
            }
        }
    }

    /// <summary>Does one mount. A read-only (nosuid, …) bind mount takes the second, remounting step by itself.</summary>
    public static void Mount(in MountPoint mount, string target)
    {
        if (mount.Type.StartsWith("fuse.", StringComparison.Ordinal) || mount.Type.StartsWith("fuse3.", StringComparison.Ordinal))
        {
            MountWithHelper(mount, target);
            return;
        }
        var (flags, data) = Parse(mount.Options);
        var propagation = flags & (MountFlags)PropagationMask;
        var plain = flags & ~(MountFlags)PropagationMask & ~MountFlags.Recursive;
        var recursive = flags & MountFlags.Recursive;
        var text = string.Join(',', data);
        if (mount.Type == "overlay" && text.Length >= MaxData)
            MountLongOverlay(mount.Source, target, plain, data);
        else if (plain != 0 || data.Count > 0 || propagation == 0)
            Call(mount.Source, target, mount.Type, plain | ((plain & MountFlags.Bind) != 0 ? recursive : 0), text);
        if (propagation != 0)
            Call("", target, "", propagation | recursive, "");
        if ((plain & MountFlags.Bind) != 0 && (plain & MountFlags.Remount) == 0 && (plain & ~MountFlags.Bind) != 0)
            Call("", target, "", plain | MountFlags.Remount, "");
    }

    /// <summary>Unmounts the top mount of a target; <paramref name="lazy"/> detaches it even when it is busy.</summary>
    public static void Unmount(string target, bool lazy = false)
    {
        var errno = TryUnmount(target, lazy);
        if (errno != Errno.None)
            throw new LinuxException(errno, "unmount", target);
    }

    /// <summary>Unmounts, returning the error number (EINVAL: not a mount point).</summary>
    public static Errno TryUnmount(string target, bool lazy = false)
    {
        const int Detach = 2, NoFollow = 8;
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(target, stack);
        fixed (byte* p = native)
            return NativeMethods.umount2(p, NoFollow | (lazy ? Detach : 0)) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Unmounts everything stacked on a target, lazily where it is busy; nothing to unmount is fine.</summary>
    public static void UnmountAll(string target)
    {
        while (true)
        {
            switch (TryUnmount(target))
            {
                case Errno.None:
                    continue;
                case Errno.EINVAL or Errno.ENOENT or Errno.ENOTDIR:
                    return;
                case Errno.EBUSY:
                    Unmount(target, lazy: true);
                    continue;
                case var errno:
                    throw new LinuxException(errno, "unmount", target);
            }
        }
    }

    private static (MountFlags Flags, List<string> Data) Parse(IReadOnlyList<string> options)
    {
        var flags = MountFlags.None;
        var data = new List<string>();
        foreach (var option in options)
        {
            switch (option)
            {
                case "" or "defaults" or "async" or "auto": break;
                case "ro": flags |= MountFlags.ReadOnly; break;
                case "rw": flags &= ~MountFlags.ReadOnly; break;
                case "nosuid": flags |= MountFlags.NoSuid; break;
                case "suid": flags &= ~MountFlags.NoSuid; break;
                case "nodev": flags |= MountFlags.NoDev; break;
                case "dev": flags &= ~MountFlags.NoDev; break;
                case "noexec": flags |= MountFlags.NoExec; break;
                case "exec": flags &= ~MountFlags.NoExec; break;
                case "sync": flags |= MountFlags.Synchronous; break;
                case "dirsync": flags |= MountFlags.DirSync; break;
                case "remount": flags |= MountFlags.Remount; break;
                case "mand": flags |= MountFlags.MandatoryLock; break;
                case "nomand": flags &= ~MountFlags.MandatoryLock; break;
                case "noatime": flags |= MountFlags.NoAtime; break;
                case "atime": flags &= ~MountFlags.NoAtime; break;
                case "nodiratime": flags |= MountFlags.NoDirAtime; break;
                case "diratime": flags &= ~MountFlags.NoDirAtime; break;
                case "relatime": flags |= MountFlags.RelAtime; break;
                case "norelatime": flags &= ~MountFlags.RelAtime; break;
                case "strictatime": flags |= MountFlags.StrictAtime; break;
                case "nostrictatime": flags &= ~MountFlags.StrictAtime; break;
                case "bind": flags |= MountFlags.Bind; break;
                case "rbind": flags |= MountFlags.Bind | MountFlags.Recursive; break;
                case "private": flags |= MountFlags.Private; break;
                case "rprivate": flags |= MountFlags.Private | MountFlags.Recursive; break;
                case "shared": flags |= MountFlags.Shared; break;
                case "rshared": flags |= MountFlags.Shared | MountFlags.Recursive; break;
                case "slave": flags |= MountFlags.Slave; break;
                case "rslave": flags |= MountFlags.Slave | MountFlags.Recursive; break;
                case "unbindable": flags |= MountFlags.Unbindable; break;
                case "runbindable": flags |= MountFlags.Unbindable | MountFlags.Recursive; break;
                default: data.Add(option); break;
            }
        }
        return (flags, data);
    }

    private static void Call(string source, string target, string type, MountFlags flags, string data)
    {
        var errno = TryCall(source, target, type, flags, data);
        if (errno != Errno.None)
            throw new LinuxException(errno, $"mount {(type.Length == 0 ? flags.ToString() : type)} {source} on", target);
    }

    private static Errno TryCall(string source, string target, string type, MountFlags flags, string data)
    {
        var nativeSource = new NativePath(source, default);
        var nativeTarget = new NativePath(target, default);
        var nativeType = new NativePath(type, default);
        var nativeData = new NativePath(data, default);
        fixed (byte* s = nativeSource)
        fixed (byte* t = nativeTarget)
        fixed (byte* y = nativeType)
        fixed (byte* d = nativeData)
            return NativeMethods.mount(s, t, type.Length == 0 ? null : y, (nuint)flags, data.Length == 0 ? null : d) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>The new mount API has no limit on the number of lower directories; where it is missing (before Linux 6.5)
    /// the lower directories are named relative to their common directory, on a thread with a working directory of its own.</summary>
    private static void MountLongOverlay(string source, string target, MountFlags flags, List<string> data)
    {
        if (OverlayMount.TryMount(source, target, flags, data))
            return;
        var lower = OverlayMount.Option(data, "lowerdir=");
        var common = CommonDirectory(lower);
        if (common.Length == 0)
            throw new LinuxException(Errno.EINVAL, "mount overlay on", target);
        var shortened = string.Join(',', data.Where(o => !o.StartsWith("lowerdir=", StringComparison.Ordinal))
            .Append("lowerdir=" + string.Join(':', lower.Select(d => d[(common.Length + 1)..]))));
        var errno = Errno.None;
        var thread = new Thread(() =>
        {
            const int CloneFs = 0x200;
            var native = new NativePath(common, default);
            fixed (byte* p = native)
            {
                if (NativeMethods.unshare(CloneFs) != 0 || NativeMethods.chdir(p) != 0)
                {
                    errno = LinuxException.LastErrno;
                    return;
                }
            }
            errno = TryCall(source, target, "overlay", flags, shortened);
        });
        thread.Start();
        thread.Join();
        if (errno != Errno.None)
            throw new LinuxException(errno, "mount overlay on", target);
    }

    private static string CommonDirectory(IReadOnlyList<string> paths)
    {
        if (paths.Count == 0)
            return "";
        var common = Path.GetDirectoryName(paths[0]) ?? "";
        foreach (var path in paths)
        {
            while (common.Length > 1 && !path.StartsWith(common + "/", StringComparison.Ordinal))
                common = Path.GetDirectoryName(common) ?? "";
        }
        return common.Length > 1 ? common : "";
    }

    /// <summary>fuse file systems are mounted by <c>mount.fuse3</c>, type <c>fuse3.fuse-overlayfs</c> by the program after the dot.</summary>
    private static void MountWithHelper(in MountPoint mount, string target)
    {
        var dot = mount.Type.IndexOf('.', StringComparison.Ordinal);
        var start = new ProcessStartInfo("mount." + mount.Type[..dot]) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (var argument in (string[])[mount.Source, target, "-o", string.Join(',', mount.Options), "-t", mount.Type[(dot + 1)..]])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start) ?? throw new IOException($"mount {mount.Type} on {target}: cannot start {start.FileName}");
        var output = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new IOException($"mount {mount.Type} on {target}: {start.FileName} exit code {process.ExitCode}: {output.Trim()}");
    }
}

/// <summary>Flags of <c>mount(2)</c>.</summary>
[Flags]
internal enum MountFlags
{
    None = 0,
    ReadOnly = 1,
    NoSuid = 2,
    NoDev = 4,
    NoExec = 8,
    Synchronous = 16,
    Remount = 32,
    MandatoryLock = 64,
    DirSync = 128,
    NoAtime = 1024,
    NoDirAtime = 2048,
    Bind = 4096,
    Recursive = 16384,
    Unbindable = 1 << 17,
    Private = 1 << 18,
    Slave = 1 << 19,
    Shared = 1 << 20,
    RelAtime = 1 << 21,
    StrictAtime = 1 << 24,
}

/// <summary>overlayfs through <c>fsopen</c>/<c>fsconfig</c>: one call per lower directory.</summary>
internal static unsafe class OverlayMount
{
    private const nint FsOpen = 430, FsConfig = 431, FsMount = 432, MoveMount = 429;
    private const int SetFlag = 0, SetString = 1, Create = 6, EmptyPath = 4;

    /// <summary>False when the kernel lacks the API or <c>lowerdir+</c>.</summary>
    internal static bool TryMount(string source, string target, MountFlags flags, List<string> data)
    {
        using var context = Handle(NativeMethods.syscall(FsOpen, Pin("overlay", out var keep), 1, 0, 0, 0));
        GC.KeepAlive(keep);
        if (context is null)
            return false;
        if (!Set(context, "source", source))
            return false;
        foreach (var directory in Option(data, "lowerdir="))
        {
            if (!Set(context, "lowerdir+", directory))
                return false;
        }
        foreach (var option in data)
        {
            if (option.StartsWith("lowerdir=", StringComparison.Ordinal))
                continue;
            var equals = option.IndexOf('=', StringComparison.Ordinal);
            if (!(equals < 0 ? Set(context, option, null) : Set(context, option[..equals], option[(equals + 1)..])))
                return false;
        }
        if (NativeMethods.syscall(FsConfig, context.DangerousGetHandle(), Create, 0, 0, 0) != 0)
            throw LinuxException.Last("mount overlay on", target);
        var attributes = (flags & MountFlags.ReadOnly) != 0 ? 1 : 0;
        attributes |= (flags & MountFlags.NoSuid) != 0 ? 2 : 0;
        attributes |= (flags & MountFlags.NoDev) != 0 ? 4 : 0;
        attributes |= (flags & MountFlags.NoExec) != 0 ? 8 : 0;
        using var mount = Handle(NativeMethods.syscall(FsMount, context.DangerousGetHandle(), 1, attributes, 0, 0))
            ?? throw LinuxException.Last("mount overlay on", target);
        var empty = Pin("", out var keepEmpty);
        var to = Pin(target, out var keepTarget);
        if (NativeMethods.syscall(MoveMount, mount.DangerousGetHandle(), empty, NativeMethods.AtFdCwd, to, EmptyPath) != 0)
            throw LinuxException.Last("mount overlay on", target);
        GC.KeepAlive(keepEmpty);
        GC.KeepAlive(keepTarget);
        return true;
    }

    /// <summary>The directories of a colon-separated option, where <c>\:</c> and <c>\\</c> stand for themselves.</summary>
    internal static List<string> Option(List<string> data, string prefix)
    {
        var list = new List<string>();
        var current = new System.Text.StringBuilder();
        foreach (var option in data)
        {
            if (!option.StartsWith(prefix, StringComparison.Ordinal))
                continue;
            for (var i = prefix.Length; i < option.Length; i++)
            {
                if (option[i] == '\\' && i + 1 < option.Length)
                {
                    current.Append(option[++i]);
                }
                else if (option[i] == ':')
                {
                    list.Add(current.ToString());
                    current.Clear();
                }
                else
                {
                    current.Append(option[i]);
                }
            }
            list.Add(current.ToString());
            current.Clear();
        }
        return list;
    }

    private static bool Set(SafeFileHandle context, string key, string? value)
    {
        var nativeKey = Pin(key, out var keep);
        var nativeValue = Pin(value ?? "", out var keepValue);
        var result = NativeMethods.syscall(FsConfig, context.DangerousGetHandle(), value is null ? SetFlag : SetString, nativeKey, value is null ? 0 : nativeValue, 0);
        GC.KeepAlive(keep);
        GC.KeepAlive(keepValue);
        return result == 0;
    }

    private static SafeFileHandle? Handle(nint fd) => fd < 0 ? null : new SafeFileHandle(fd, ownsHandle: true);

    private static nint Pin(string text, out byte[] keep)
    {
        keep = GC.AllocateUninitializedArray<byte>((text.Length * 3) + 1, pinned: true);
        keep[LinuxText.Encode(text, keep)] = 0;
        return (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref keep[0]);
    }
}
