namespace BuildKit.Worker.Executor;

/// <summary>The <c>hosts</c> and <c>resolv.conf</c> files containers mount: shared ones where they are alike,
/// private ones where a step has its own names.</summary>
internal sealed class SharedHostFiles(string directory, DnsSettings? dns)
{
    private const string HostResolvConf = "/etc/resolv.conf";
    private const string SystemdResolvConf = "/run/systemd/resolve/resolv.conf";
    private readonly Lock _lock = new();
    private readonly HashSet<string> _made = new(StringComparer.Ordinal);

    /// <summary>The hosts file of a step; disposing removes it when it is private.</summary>
    public HostsFile Hosts(string hostname, IReadOnlyList<ExtraHost> extraHosts)
    {
        if (extraHosts.Count == 0 && hostname.Length == 0)
        {
            var shared = Path.Combine(directory, "hosts");
            lock (_lock)
                if (_made.Add(shared) || !File.Exists(shared))
                    Replace(shared, HostFiles.Hosts(RuncExecutor.DefaultHostname, []));
            return new HostsFile(shared, isPrivate: false);
        }
        var own = Path.Combine(directory, "hosts." + Path.GetRandomFileName());
        Replace(own, HostFiles.Hosts(hostname.Length > 0 ? hostname : RuncExecutor.DefaultHostname, extraHosts));
        return new HostsFile(own, isPrivate: true);
    }

    /// <summary>The resolver configuration, made anew when the host's is newer.</summary>
    public string ResolvConf(bool hostNetwork)
    {
        var path = Path.Combine(directory, hostNetwork ? "resolv-host.conf" : "resolv.conf");
        lock (_lock)
        {
            var source = File.Exists(HostResolvConf) ? HostResolvConf : null;
            var stale = _made.Add(path) || !File.Exists(path) ||
                (source is not null && File.GetLastWriteTimeUtc(source) > File.GetLastWriteTimeUtc(path));
            if (!stale)
                return path;
            var text = source is null ? "" : File.ReadAllText(source);
            if (!hostNetwork && HostFiles.NamesOnlySystemdStub(text) && File.Exists(SystemdResolvConf))
                text = File.ReadAllText(SystemdResolvConf);
            Replace(path, HostFiles.ResolvConf(text, dns, hostNetwork));
        }
        return path;
    }

    private static void Replace(string path, string text)
    {
        var temporary = path + ".tmp";
        File.WriteAllText(temporary, text);
        File.SetUnixFileMode(temporary, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        File.Move(temporary, path, overwrite: true);
    }
}

/// <summary>A hosts file in use by one container.</summary>
internal sealed class HostsFile(string path, bool isPrivate) : IDisposable
{
    public string Path { get; } = path;

    public void Dispose()
    {
        if (isPrivate)
            File.Delete(Path);
    }
}
