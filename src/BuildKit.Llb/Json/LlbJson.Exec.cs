using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <content>Exec operations.</content>
public static partial class LlbJson
{
    /// <summary>Writes an exec operation.</summary>
    public static void Write(CanonicalJsonWriter json, ExecOp exec)
    {
        json.WriteStartObject();
        Message(json, "meta", exec.Meta, Write);
        List(json, "mounts", exec.Mounts, Write);
        json.WriteNonZero("network", (int)exec.Network);
        json.WriteNonZero("security", (int)exec.Security);
        List(json, "secretenv", exec.Secretenv, static (json, secret) =>
        {
            json.WriteStartObject();
            json.WriteText("ID", secret.ID);
            json.WriteText("name", secret.Name);
            json.WriteTrue("optional", secret.Optional);
            json.WriteEndObject();
        });
        List(json, "cdiDevices", exec.CdiDevices, static (json, device) =>
        {
            json.WriteStartObject();
            json.WriteText("name", device.Name);
            json.WriteTrue("optional", device.Optional);
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    /// <summary>Writes what a process is started with.</summary>
    public static void Write(CanonicalJsonWriter json, Meta meta)
    {
        json.WriteStartObject();
        json.WriteStrings("args", meta.Args);
        json.WriteStrings("env", meta.Env);
        json.WriteText("cwd", meta.Cwd);
        json.WriteText("user", meta.User);
        Message(json, "proxy_env", meta.ProxyEnv, static (json, proxy) =>
        {
            json.WriteStartObject();
            json.WriteText("http_proxy", proxy.HttpProxy);
            json.WriteText("https_proxy", proxy.HttpsProxy);
            json.WriteText("ftp_proxy", proxy.FtpProxy);
            json.WriteText("no_proxy", proxy.NoProxy);
            json.WriteText("all_proxy", proxy.AllProxy);
            json.WriteEndObject();
        });
        List(json, "extraHosts", meta.ExtraHosts, static (json, host) =>
        {
            json.WriteStartObject();
            json.WriteText("Host", host.Host);
            json.WriteText("IP", host.IP);
            json.WriteEndObject();
        });
        json.WriteText("hostname", meta.Hostname);
        List(json, "ulimit", meta.Ulimit, static (json, limit) =>
        {
            json.WriteStartObject();
            json.WriteText("Name", limit.Name);
            json.WriteNonZero("Soft", limit.Soft);
            json.WriteNonZero("Hard", limit.Hard);
            json.WriteEndObject();
        });
        json.WriteText("cgroupParent", meta.CgroupParent);
        json.WriteTrue("removeMountStubsRecursive", meta.RemoveMountStubsRecursive);
        List(json, "validExitCodes", meta.ValidExitCodes, static (json, code) => json.WriteNumber((long)code));
        json.WriteEndObject();
    }

    /// <summary>Writes a mount.</summary>
    public static void Write(CanonicalJsonWriter json, Mount mount)
    {
        json.WriteStartObject();
        json.WriteNonZero("input", mount.Input);
        json.WriteText("selector", mount.Selector);
        json.WriteText("dest", mount.Dest);
        json.WriteNonZero("output", mount.Output);
        json.WriteTrue("readonly", mount.Readonly);
        json.WriteNonZero("mountType", (int)mount.MountType);
        Message(json, "TmpfsOpt", mount.TmpfsOpt, static (json, tmpfs) =>
        {
            json.WriteStartObject();
            json.WriteNonZero("size", tmpfs.Size);
            json.WriteEndObject();
        });
        Message(json, "cacheOpt", mount.CacheOpt, static (json, cache) =>
        {
            json.WriteStartObject();
            json.WriteText("ID", cache.ID);
            json.WriteNonZero("sharing", (int)cache.Sharing);
            json.WriteEndObject();
        });
        Message(json, "secretOpt", mount.SecretOpt, static (json, secret) =>
            Credential(json, secret.ID, secret.Uid, secret.Gid, secret.Mode, secret.Optional));
        Message(json, "SSHOpt", mount.SSHOpt, static (json, ssh) =>
            Credential(json, ssh.ID, ssh.Uid, ssh.Gid, ssh.Mode, ssh.Optional));
        json.WriteText("resultID", mount.ResultID);
        json.WriteNonZero("contentCache", (int)mount.ContentCache);
        json.WriteEndObject();
    }

    private static void Credential(CanonicalJsonWriter json, string id, uint uid, uint gid, uint mode, bool optional)
    {
        json.WriteStartObject();
        json.WriteText("ID", id);
        json.WriteNonZero("uid", uid);
        json.WriteNonZero("gid", gid);
        json.WriteNonZero("mode", mode);
        json.WriteTrue("optional", optional);
        json.WriteEndObject();
    }
}
