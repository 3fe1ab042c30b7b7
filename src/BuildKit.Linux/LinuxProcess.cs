using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>Calls about processes, threads and limits.</summary>
public static unsafe class LinuxProcess
{
    /// <summary>Effective user id.</summary>
    public static uint EffectiveUserId => NativeMethods.geteuid();

    /// <summary>Effective group id.</summary>
    public static uint EffectiveGroupId => NativeMethods.getegid();

    /// <summary>Sets the file creation mask of the whole process; returns the old one.</summary>
    public static uint SetUmask(uint mask) => NativeMethods.umask(mask);

    /// <summary>Sends a signal to a process (negative: to a process group); false when it does not exist any more.</summary>
    public static bool Kill(int processId, int signal)
    {
        if (NativeMethods.kill(processId, signal) == 0)
            return true;
        return LinuxException.LastErrno == Errno.ESRCH ? false : throw LinuxException.Last("kill", processId.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    /// <summary>The signal the calling thread's process gets when its parent thread ends; 0 for none.</summary>
    public static void SetParentDeathSignal(int signal) => Prctl(1, (nuint)signal, "prctl PR_SET_PDEATHSIG");

    /// <summary>Orphaned descendants become children of this process, which then has to reap them.</summary>
    public static void SetChildSubreaper() => Prctl(36, 1, "prctl PR_SET_CHILD_SUBREAPER");

    /// <summary>Reaps one ended child without blocking; false when there is none. For adopted orphans only: children
    /// started through <see cref="System.Diagnostics.Process"/> are reaped by the runtime.</summary>
    public static bool TryReap(int processId, out int status)
    {
        int value;
        var result = NativeMethods.waitpid(processId, &value, 1);
        status = value;
        return result > 0;
    }

    /// <summary>Leaves namespaces (CLONE_* bits). Acts on the calling thread: use a thread of your own that ends afterwards.</summary>
    public static void Unshare(int flags)
    {
        if (NativeMethods.unshare(flags) != 0)
            throw LinuxException.Last("unshare", "");
    }

    /// <summary>Replaces the running program. Returns only by throwing: the caller's program goes on then.</summary>
    /// <param name="path">The program.</param>
    /// <param name="arguments">Arguments, the name first.</param>
    /// <param name="environment">Environment as <c>NAME=value</c>.</param>
    /// <exception cref="LinuxException">The program cannot be executed.</exception>
    public static void Execute(string path, IReadOnlyList<string> arguments, IReadOnlyList<string> environment)
    {
        var allocated = new List<nint>();
        try
        {
            fixed (nint* argv = List(arguments), envp = List(environment))
            fixed (byte* native = LinuxText.Encode(path + "\0"))
                NativeMethods.execve(native, (byte**)argv, (byte**)envp);
            throw LinuxException.Last("execve", path);
        }
        finally
        {
            foreach (var pointer in allocated)
                System.Runtime.InteropServices.Marshal.FreeHGlobal(pointer);
        }

        nint[] List(IReadOnlyList<string> texts)
        {
            var list = new nint[texts.Count + 1];
            for (var i = 0; i < texts.Count; i++)
            {
                var bytes = LinuxText.Encode(texts[i] + "\0");
                list[i] = System.Runtime.InteropServices.Marshal.AllocHGlobal(bytes.Length);
                allocated.Add(list[i]);
                System.Runtime.InteropServices.Marshal.Copy(bytes, 0, list[i], bytes.Length);
            }
            return list;
        }
    }

    /// <summary>
    /// Lets SIGINT reach this process even if it was started ignoring it, as shells start background jobs: the
    /// runtime leaves ignored signals ignored, while scripts count on <c>kill -INT</c> ending a build.
    /// Call it before a handler is registered.
    /// </summary>
    public static void AcceptInterrupts()
    {
        const int Interrupt = 2, Default = 0;
        if (NativeMethods.signal(Interrupt, Default) == -1)
            throw LinuxException.Last("signal", "SIGINT");
    }

    /// <summary>Makes a standard stream (0, 1, 2) another name of an open file.</summary>
    public static void Redirect(SafeFileHandle file, int standardStream)
    {
        if (NativeMethods.dup2((int)file.DangerousGetHandle(), standardStream) < 0)
            throw LinuxException.Last("dup2", "");
    }

    /// <summary>Enters the namespace of an open <c>/proc/…/ns/…</c> file. Acts on the calling thread only.</summary>
    public static void SetNamespace(SafeFileHandle file, int type)
    {
        if (NativeMethods.setns(file, type) != 0)
            throw LinuxException.Last("setns", "");
    }

    /// <summary>A value of <c>sysconf(3)</c>; -1 when unlimited or unknown.</summary>
    public static long SysConf(int name) => NativeMethods.sysconf(name);

    /// <summary>Size of a memory page in bytes.</summary>
    public static long PageSize => NativeMethods.sysconf(30);

    /// <summary>Soft and hard limit of a process (0: this one) for a resource (RLIMIT_NOFILE is 7).</summary>
    public static (ulong Soft, ulong Hard) GetLimit(int processId, int resource)
    {
        NativeMethods.ResourceLimit limit;
        if (NativeMethods.prlimit(processId, resource, null, &limit) != 0)
            throw LinuxException.Last("prlimit", "");
        return (limit.Soft, limit.Hard);
    }

    /// <summary>Sets soft and hard limit of a process (0: this one).</summary>
    public static void SetLimit(int processId, int resource, ulong soft, ulong hard)
    {
        var limit = new NativeMethods.ResourceLimit { Soft = soft, Hard = hard };
        if (NativeMethods.prlimit(processId, resource, &limit, null) != 0)
            throw LinuxException.Last("prlimit", "");
    }

    /// <summary>Returns to the system what the C library keeps of freed memory; nothing where it has no such call (musl).</summary>
    public static void TrimHeap()
    {
        if (NativeLibrary.TryGetExport(NativeLibrary.GetMainProgramHandle(), "malloc_trim", out var trim))
            _ = ((delegate* unmanaged<nuint, int>)trim)(0);
    }

    /// <summary>Whether the process is in a user namespace other than the initial one.</summary>
    public static bool InUserNamespace()
    {
        // The initial namespace maps all ids one to one.
        var fields = File.ReadAllText("/proc/self/uid_map").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        return fields is not ["0", "0", "4294967295"];
    }

    private static void Prctl(int option, nuint value, string operation)
    {
        if (NativeMethods.prctl(option, value, 0, 0, 0) != 0)
            throw LinuxException.Last(operation, "");
    }
}
