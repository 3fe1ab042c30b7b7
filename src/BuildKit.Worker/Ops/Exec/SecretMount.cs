using System.Globalization;
using BuildKit.Linux;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>A secret as a file: on a tmpfs of its own, so that it never touches a disk (spec 06 §7).</summary>
public sealed class SecretMount(byte[] secret, uint uid, uint gid, uint mode, string directory, bool userNamespace) : IMountable
{
    private const uint AnyExecute = 0x49;
    private const uint PermissionMask = 0x1ff;

    /// <inheritdoc/>
    public Task<MountLease> AcquireAsync(CancellationToken cancellationToken)
    {
        var place = Path.Combine(directory, "secret-" + Path.GetRandomFileName());
        LinuxFile.MkdirAll(directory, Convert.ToUInt32("711", 8));
        LinuxFile.Mkdir(place, Convert.ToUInt32("711", 8));
        string[] noExec = (mode & AnyExecute) == 0 ? ["noexec"] : [];
        string[] options = userNamespace ? [] :
        [
            "nodev", "nosuid", .. noExec,
            string.Create(CultureInfo.InvariantCulture, $"uid={LinuxProcess.EffectiveUserId}"),
            string.Create(CultureInfo.InvariantCulture, $"gid={LinuxProcess.EffectiveGroupId}"),
        ];
        Linux.Mounts.Mount(new MountPoint("tmpfs", "tmpfs", options), place);
        try
        {
            var file = Path.Combine(place, Path.GetRandomFileName());
            using (var handle = LinuxFile.Open(file, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive, Convert.ToUInt32("600", 8)))
                RandomAccess.Write(handle, secret, 0);
            LinuxFile.Lchown(file, uid, gid);
            LinuxFile.Chmod(file, mode & PermissionMask);
            return Task.FromResult(new MountLease(
                [new MountSpec("bind", file, ["ro", "rbind", "nodev", "nosuid", .. noExec])], () =>
                {
                    Remove(place);
                    return ValueTask.CompletedTask;
                }));
        }
        catch
        {
            Remove(place);
            throw;
        }
    }

    private static void Remove(string place)
    {
        Linux.Mounts.UnmountAll(place);
        Directory.Delete(place);
    }
}
