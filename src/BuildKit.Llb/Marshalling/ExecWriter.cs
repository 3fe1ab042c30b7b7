using BuildKit.Protocol.Pb;

namespace BuildKit.Llb.Marshalling;

/// <summary>Canonical bytes of an exec operation (fields: spec 02 §1.2).</summary>
internal static class ExecWriter
{
    public static void Write(ProtoBuffer w, ExecOp exec)
    {
        if (exec.Meta is { } meta)
            CanonicalOp.Nested(w, 1, meta, Write);
        foreach (var mount in exec.Mounts)
            CanonicalOp.Nested(w, 2, mount, Write);
        w.Int(3, (int)exec.Network);
        w.Int(4, (int)exec.Security);
        foreach (var secret in exec.Secretenv)
        {
            var start = w.Begin(5);
            w.String(1, secret.ID);
            w.String(2, secret.Name);
            w.Bool(3, secret.Optional);
            w.End(start);
        }

        foreach (var device in exec.CdiDevices)
        {
            var start = w.Begin(6);
            w.String(1, device.Name);
            w.Bool(2, device.Optional);
            w.End(start);
        }
    }

    private static void Write(ProtoBuffer w, Meta meta)
    {
        w.Strings(1, meta.Args);
        w.Strings(2, meta.Env);
        w.String(3, meta.Cwd);
        w.String(4, meta.User);
        if (meta.ProxyEnv is { } proxy)
        {
            var start = w.Begin(5);
            w.String(1, proxy.HttpProxy);
            w.String(2, proxy.HttpsProxy);
            w.String(3, proxy.FtpProxy);
            w.String(4, proxy.NoProxy);
            w.String(5, proxy.AllProxy);
            w.End(start);
        }

        foreach (var host in meta.ExtraHosts)
        {
            var start = w.Begin(6);
            w.String(1, host.Host);
            w.String(2, host.IP);
            w.End(start);
        }

        w.String(7, meta.Hostname);
        foreach (var limit in meta.Ulimit)
        {
            var start = w.Begin(9);
            w.String(1, limit.Name);
            w.Int(2, limit.Soft);
            w.Int(3, limit.Hard);
            w.End(start);
        }

        w.String(10, meta.CgroupParent);
        w.Bool(11, meta.RemoveMountStubsRecursive);
        w.Packed(12, meta.ValidExitCodes);
    }

    private static void Write(ProtoBuffer w, Mount mount)
    {
        w.Int(1, mount.Input);
        w.String(2, mount.Selector);
        w.String(3, mount.Dest);
        w.Int(4, mount.Output);
        w.Bool(5, mount.Readonly);
        w.Int(6, (int)mount.MountType);
        if (mount.TmpfsOpt is { } tmpfs)
        {
            var start = w.Begin(19);
            w.Int(1, tmpfs.Size);
            w.End(start);
        }

        if (mount.CacheOpt is { } cache)
        {
            var start = w.Begin(20);
            w.String(1, cache.ID);
            w.Int(2, (int)cache.Sharing);
            w.End(start);
        }

        if (mount.SecretOpt is { } secret)
        {
            var start = w.Begin(21);
            Credential(w, secret.ID, secret.Uid, secret.Gid, secret.Mode, secret.Optional);
            w.End(start);
        }

        if (mount.SSHOpt is { } ssh)
        {
            var start = w.Begin(22);
            Credential(w, ssh.ID, ssh.Uid, ssh.Gid, ssh.Mode, ssh.Optional);
            w.End(start);
        }

        w.String(23, mount.ResultID);
        w.Int(24, (int)mount.ContentCache);
    }

    private static void Credential(ProtoBuffer w, string id, uint uid, uint gid, uint mode, bool optional)
    {
        w.String(1, id);
        w.Int(2, uid);
        w.Int(3, gid);
        w.Int(4, mode);
        w.Bool(5, optional);
    }
}
