using BuildKit.Linux;
using BuildKit.Protocol.Pb;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using BuildKit.Worker.Executor;
using Google.Protobuf;

namespace BuildKit.Daemon.Frontends.Images;

/// <summary>The directory in which a frontend finds the definition it was itself made by (spec 01 §6.5 point 4).</summary>
internal sealed class FrontendMetadata : IDisposable
{
    private const string Destination = "/run/config/buildkit/metadata";
    private readonly string _directory;

    private FrontendMetadata(string directory) => _directory = directory;

    /// <summary>The directory in the container.</summary>
    public ContainerMount Mount => new(Destination, new ReadOnlyDirectory(_directory));

    /// <summary>Writes the directory below <paramref name="parent"/>.</summary>
    public static FrontendMetadata Write(string parent, Definition definition)
    {
        var directory = Path.Combine(parent, "frontend-" + Path.GetRandomFileName());
        LinuxFile.Mkdir(directory, Convert.ToUInt32("700", 8));
        var metadata = new FrontendMetadata(directory);
        try
        {
            using var file = LinuxFile.Open(
                Path.Combine(directory, "frontend.bin"), OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive, Convert.ToUInt32("400", 8));
            RandomAccess.Write(file, definition.ToByteArray(), 0);
            return metadata;
        }
        catch
        {
            metadata.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => LinuxDirectory.RemoveTree(_directory);

    private sealed class ReadOnlyDirectory(string path) : IMountable
    {
        public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) =>
            Task.FromResult(new MountLease([new MountSpec("bind", path, ["bind", "ro", "nosuid", "nodev", "noexec"])], () => ValueTask.CompletedTask));
    }
}
