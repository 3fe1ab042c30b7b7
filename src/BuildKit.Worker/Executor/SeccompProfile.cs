using System.Runtime.InteropServices;
using System.Text.Json;

namespace BuildKit.Worker.Executor;

/// <summary>
/// The system call filter of a sandboxed step: the profile container engines use by default, resolved for the
/// default capabilities (spec 06 §6.3). Calls outside the list fail with EPERM.
/// </summary>
internal static class SeccompProfile
{
    private const string Allowed = """
        _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
        chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
        eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
        fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
        flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
        ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
        get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
        getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
        getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
        getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
        io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill
        landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
        listen listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
        memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
        mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
        newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
        pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
        pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
        semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
        set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
        setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
        setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown
        sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
        statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
        timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
        timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
        ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
        waitpid write writev
        """;

    /// <summary>AF_VSOCK: the one address family a step may not open.</summary>
    private const int AddressFamilyVsock = 40;

    /// <summary>CLONE_NEW* flags: a step may not make namespaces with clone.</summary>
    private const long NamespaceFlags = 0x7E020000;

    /// <summary>ENOSYS makes libc fall back from clone3 to clone; EPERM would not.</summary>
    private const int NoSuchCall = 38;

    /// <summary>personality(2) values that are harmless: Linux, Linux 32, and both with UNAME26, and the query.</summary>
    private static readonly long[] Personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

    /// <summary>Writes the value of <c>linux.seccomp</c>.</summary>
    public static void Write(Utf8JsonWriter json, Architecture architecture)
    {
        json.WriteStartObject();
        json.WriteString("defaultAction", "SCMP_ACT_ERRNO");
        json.WriteNumber("defaultErrnoRet", 1);
        json.WriteStartArray("architectures");
        foreach (var name in Architectures(architecture))
            json.WriteStringValue(name);
        json.WriteEndArray();
        json.WriteStartArray("syscalls");
        Rule(json, [.. Allowed.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries), .. ArchitectureCalls(architecture)]);
        Rule(json, ["process_vm_readv", "process_vm_writev", "ptrace"]);
        Rule(json, ["socket"], (0, AddressFamilyVsock, "SCMP_CMP_NE"));
        foreach (var personality in Personalities)
            Rule(json, ["personality"], (0, personality, "SCMP_CMP_EQ"));
        Rule(json, ["clone"], (0, NamespaceFlags, "SCMP_CMP_MASKED_EQ"));
        Rule(json, ["clone3"], null, NoSuchCall);
        Rule(json, ["chroot"]);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string[] Architectures(Architecture architecture) => architecture switch
    {
        Architecture.Arm64 => ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        Architecture.Arm => ["SCMP_ARCH_ARM"],
        Architecture.S390x => ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        Architecture.X86 => ["SCMP_ARCH_X86"],
        Architecture.Ppc64le => ["SCMP_ARCH_PPC64LE"],
        _ => ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    };

    private static string[] ArchitectureCalls(Architecture architecture) => architecture switch
    {
        Architecture.Arm64 or Architecture.Arm =>
            ["arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"],
        Architecture.S390x => ["s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"],
        Architecture.Ppc64le => ["sync_file_range2", "swapcontext"],
        _ => ["arch_prctl", "modify_ldt"],
    };

    private static void Rule(Utf8JsonWriter json, string[] names, (int Index, long Value, string Op)? argument = null, int? errno = null)
    {
        json.WriteStartObject();
        json.WriteStartArray("names");
        foreach (var name in names)
            json.WriteStringValue(name);
        json.WriteEndArray();
        json.WriteString("action", errno is null ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO");
        if (errno is { } number)
            json.WriteNumber("errnoRet", number);
        if (argument is var (index, value, op) && argument is not null)
        {
            json.WriteStartArray("args");
            json.WriteStartObject();
            json.WriteNumber("index", index);
            json.WriteNumber("value", value);
            json.WriteString("op", op);
            json.WriteEndObject();
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }
}
