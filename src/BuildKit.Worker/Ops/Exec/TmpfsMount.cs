using System.Globalization;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>A <c>RUN --mount=type=tmpfs</c>; size in bytes, 0 for the kernel's default.</summary>
public sealed class TmpfsMount(long size, bool readOnly) : IMountable
{
    /// <inheritdoc/>
    public Task<MountLease> AcquireAsync(CancellationToken cancellationToken)
    {
        List<string> options = ["nosuid"];
        if (readOnly)
            options.Add("ro");
        if (size > 0)
            options.Add("size=" + size.ToString(CultureInfo.InvariantCulture));
        return Task.FromResult(new MountLease([new MountSpec("tmpfs", "tmpfs", options)], () => ValueTask.CompletedTask));
    }
}
