namespace BuildKit.Daemon.Configuration;

/// <summary>Settings that are understood but whose feature is not there yet: refused in one line, never ignored.</summary>
public static class UnsupportedSettings
{
    /// <summary>Refuses what cannot be honoured.</summary>
    /// <exception cref="ConfigException">Names the setting.</exception>
    public static void Refuse(DaemonConfig config)
    {
        var worker = config.Worker;
        Check(worker.NetworkMode is "cni" or "bridge", $"networkMode \"{worker.NetworkMode}\" (--oci-worker-net)", "use \"host\"");
        if (worker.NetworkMode is not ("auto" or "host" or "" or "cni" or "bridge"))
            throw new ConfigException($"invalid network mode: \"{worker.NetworkMode}\"");
        Check(worker.Snapshotter == "stargz" || worker.StargzSnapshotter, "snapshotter \"stargz\"", "use \"overlayfs\"");
        Check(worker.ProxySnapshotterPath.Length > 0, "proxySnapshotterPath", "use \"overlayfs\" or \"native\"");
        Check(worker.SeLinux, "selinux", "leave it off");
        Check(config.DebugAddress.Length > 0, "debugAddress (--debugaddr)", "leave it empty");
        Check(config.CdiAutoAllowed.Count > 0, "cdi.autoAllowed", "leave it empty");
        Check(worker.Enabled == false, "worker.oci.enabled=false (--oci-worker=false)", "the OCI worker is the only one there is");
        foreach (var setting in config.WithoutFeature)
            Check(isSet: true, setting, "leave it out");
        if (worker.NoProcessSandbox && !config.Rootless)
            throw new ConfigException("can't enable NoProcessSandbox without Rootless");
        foreach (var entitlement in config.InsecureEntitlements)
            if (entitlement is not ("security.insecure" or "network.host"))
                throw new ConfigException($"invalid entitlement : {entitlement}");
    }

    private static void Check(bool isSet, string setting, string instead)
    {
        if (isSet)
            throw new ConfigException($"{setting} is not supported by this version: {instead}");
    }
}
