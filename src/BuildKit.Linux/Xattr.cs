using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>Extended attributes; symlinks are never followed. Names carry their namespace (<c>user.x</c>).</summary>
public static unsafe class Xattr
{
    /// <summary>The value, or null when the attribute or the support for it is missing.</summary>
    public static byte[]? Get(string path, string name)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        Span<byte> stack2 = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        var nativeName = new NativePath(name, stack2);
        Span<byte> first = stackalloc byte[256];
        fixed (byte* p = native)
        fixed (byte* n = nativeName)
        fixed (byte* f = first)
        {
            var length = NativeMethods.lgetxattr(p, n, f, (nuint)first.Length);
            if (length >= 0)
                return first[..(int)length].ToArray();
            while (true)
            {
                if (LinuxException.LastErrno is Errno.ENODATA or Errno.EOPNOTSUPP)
                    return null;
                if (LinuxException.LastErrno != Errno.ERANGE)
                    throw LinuxException.Last("lgetxattr", path);
                length = NativeMethods.lgetxattr(p, n, null, 0);
                if (length < 0)
                    continue;
                var value = new byte[length];
                fixed (byte* v = value)
                    length = NativeMethods.lgetxattr(p, n, v, (nuint)value.Length);
                if (length >= 0)
                    return value.AsSpan(0, (int)length).ToArray();
            }
        }
    }

    /// <summary>The value of an attribute of a name in an open directory.</summary>
    public static byte[]? Get(SafeFileHandle dir, string path, string name) => Get(LinuxFile.ProcPath(dir, path), name);

    /// <summary>Names of all attributes, in the order of the file system; none where unsupported.</summary>
    public static IReadOnlyList<string> List(string path)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        Span<byte> first = stackalloc byte[512];
        fixed (byte* p = native)
        fixed (byte* f = first)
        {
            var length = NativeMethods.llistxattr(p, f, (nuint)first.Length);
            if (length == 0)
                return [];
            if (length > 0)
                return Split(first[..(int)length]);
            while (true)
            {
                if (LinuxException.LastErrno == Errno.EOPNOTSUPP)
                    return [];
                if (LinuxException.LastErrno != Errno.ERANGE)
                    throw LinuxException.Last("llistxattr", path);
                length = NativeMethods.llistxattr(p, null, 0);
                if (length < 0)
                    continue;
                var names = new byte[length];
                fixed (byte* v = names)
                    length = NativeMethods.llistxattr(p, v, (nuint)names.Length);
                if (length >= 0)
                    return Split(names.AsSpan(0, (int)length));
            }
        }
    }

    /// <summary>Names of all attributes of a name in an open directory.</summary>
    public static IReadOnlyList<string> List(SafeFileHandle dir, string path) => List(LinuxFile.ProcPath(dir, path));

    /// <summary>Whether an open file has any attribute.</summary>
    public static bool Any(SafeFileHandle file)
    {
        var length = NativeMethods.flistxattr(file, null, 0);
        return length >= 0 ? length > 0 : LinuxException.LastErrno == Errno.EOPNOTSUPP ? false : throw LinuxException.Last("flistxattr", "");
    }

    /// <summary>Sets an attribute.</summary>
    public static void Set(string path, string name, ReadOnlySpan<byte> value) => LinuxFile.Check(TrySet(path, name, value), "lsetxattr " + name, path);

    /// <summary>Sets an attribute, returning the error number.</summary>
    public static Errno TrySet(string path, string name, ReadOnlySpan<byte> value)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        Span<byte> stack2 = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        var nativeName = new NativePath(name, stack2);
        fixed (byte* p = native)
        fixed (byte* n = nativeName)
        fixed (byte* v = value)
            return NativeMethods.lsetxattr(p, n, v, (nuint)value.Length, 0) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Sets an attribute of a name in an open directory, returning the error number.</summary>
    public static Errno TrySet(SafeFileHandle dir, string path, string name, ReadOnlySpan<byte> value) =>
        TrySet(LinuxFile.ProcPath(dir, path), name, value);

    /// <summary>Removes an attribute, returning the error number.</summary>
    public static Errno TryRemove(string path, string name)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        Span<byte> stack2 = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        var nativeName = new NativePath(name, stack2);
        fixed (byte* p = native)
        fixed (byte* n = nativeName)
            return NativeMethods.lremovexattr(p, n) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    private static List<string> Split(ReadOnlySpan<byte> names)
    {
        var list = new List<string>();
        while (!names.IsEmpty)
        {
            var end = names.IndexOf((byte)0);
            if (end < 0)
                end = names.Length;
            list.Add(LinuxText.Decode(names[..end]));
            names = names[Math.Min(names.Length, end + 1)..];
        }
        return list;
    }
}
