using System.Diagnostics;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;
using BuildKit.Storage;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.IntegrationTests.Storage;

/// <summary>What a killed process leaves: everything it had finished, and nothing else.</summary>
public sealed class CrashTests
{
    [RequiresFact("root")]
    public async Task Killing_the_process_at_any_moment_loses_no_finished_work_and_leaks_nothing()
    {
        using var temp = new TempDirectory();
        var kept = new Dictionary<string, string>(StringComparer.Ordinal);
        var withBlob = new HashSet<string>(StringComparer.Ordinal);
        var random = new Random(1);
        for (var round = 0; round < 8; round++)
        {
            await RunAndKillAsync(temp.Path, kept, withBlob, lines: random.Next(3, 60), delay: random.Next(0, 40));
            await using var storage = await CrashProgram.OpenAsync(temp.Path);
            await CheckAsync(storage, kept, withBlob);
        }
    }

    private static async Task RunAndKillAsync(string path, Dictionary<string, string> kept, HashSet<string> withBlob, int lines, int delay)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true };
        foreach (var argument in (string[])["exec", typeof(CrashProgram).Assembly.Location, "storage-crash", path])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var reading = Task.Run(async () =>
        {
            var read = 0;
            while (await process.StandardOutput.ReadLineAsync() is { } line)
            {
                switch (line.Split(' '))
                {
                    case ["kept", var id, var file]:
                        kept[id] = file;
                        break;
                    case ["blob", var id]:
                        withBlob.Add(id);
                        break;
                    default:
                        Assert.Fail(line);
                        break;
                }

                if (++read == lines)
                {
                    await Task.Delay(delay);
                    process.Kill();
                }
            }
        });
        await reading;
        await process.WaitForExitAsync();
        Assert.Equal(128 + 9, process.ExitCode);
    }

    private static async Task CheckAsync(StorageRoot storage, Dictionary<string, string> kept, HashSet<string> withBlob)
    {
        foreach (var (id, file) in kept)
        {
            await using var reference = await storage.Refs.GetAsync(id, RefOptions.Default, default);
            await using var lease = await (await reference.MountAsync(readOnly: true, default)).AcquireAsync(default);
            var options = lease.Mounts[0].Options.FirstOrDefault(o => o.StartsWith("lowerdir=", StringComparison.Ordinal));
            var nearest = options?["lowerdir=".Length..].Split(':')[0] ?? lease.Mounts[0].Source;
            Assert.Equal(file, await File.ReadAllTextAsync(Path.Combine(nearest, file)));
            if (withBlob.Contains(id))
                Assert.NotEmpty(await reference.GetRemotesAsync(createIfNeeded: false, CompressionOptions.Default, all: false, default));
        }

        // Records: none that nobody can use.
        var usage = await storage.Refs.DiskUsageAsync([], default);
        Assert.All(usage, static record => Assert.False(record.InUse));
        Assert.All(usage.Where(static record => record.Mutable), record => Assert.NotNull(storage.Refs.GetMetadata(record.Id)));

        // Blobs: every one is right, every file has its row.
        var blobs = new HashSet<string>(StringComparer.Ordinal);
        await foreach (var blob in storage.Content.ListAsync(default))
        {
            await using var stream = await storage.Content.OpenAsync(blob.Digest, default);
            Assert.Equal(blob.Digest, Digest.FromSha256(await System.Security.Cryptography.SHA256.HashDataAsync(stream)));
            blobs.Add(blob.Digest.Hex);
        }

        var content = Path.Combine(storage.WorkerDirectory, "content");
        Assert.Equal(blobs, Directory.EnumerateFiles(Path.Combine(content, "blobs", "sha256")).Select(f => Path.GetFileName(f)!).ToHashSet(StringComparer.Ordinal));
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(content, "ingest")));

        // Snapshots: as many directories as names, and all of them gone once nothing is kept.
        await storage.Refs.WhenRemovedAsync();
        var snapshots = Path.Combine(storage.WorkerDirectory, "snapshots");
        Assert.Equal((await storage.Snapshotter.ListAsync(default)).Count, Directory.EnumerateDirectories(Path.Combine(snapshots, "snapshots")).Count());
        Assert.Empty(Directory.EnumerateDirectories(Path.Combine(snapshots, "trash")));
        await storage.Refs.PruneAsync([new PruneOptions(["description==dropped"], true, TimeSpan.Zero, 0, 0, 0)], static _ => { }, default);
        Assert.Equal(kept.Keys.Order(StringComparer.Ordinal).Count(), (await storage.Refs.DiskUsageAsync(["description==kept"], default)).Count(r => kept.ContainsKey(r.Id)));
        Assert.Equal((await storage.Refs.DiskUsageAsync([], default)).Count, (await storage.Snapshotter.ListAsync(default)).Count);
    }
}
