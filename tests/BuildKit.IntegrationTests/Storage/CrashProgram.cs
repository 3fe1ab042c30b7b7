using BuildKit.Storage;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.IntegrationTests.Storage;

/// <summary>
/// The process that <see cref="CrashTests"/> kills: works on a storage without end, and says on its output what is
/// finished: <c>kept id file</c> for a record with a file, <c>blob id</c> when the record has its layer blob.
/// </summary>
internal static class CrashProgram
{
    public static async Task<int> Main(string[] arguments)
    {
        if (arguments is [Session.FileSyncProgram.Name, ..])
            return await Session.FileSyncProgram.RunAsync(arguments[1..]);
        if (arguments is not ["storage-crash", var path])
        {
            await Console.Error.WriteLineAsync("usage: storage-crash <state directory>");
            return 2;
        }

        await using var storage = await OpenAsync(path);
        await Task.WhenAny(KeepAsync(storage), KeepAsync(storage), DropAsync(storage), DropAsync(storage)).Unwrap();
        return 1;
    }

    public static Task<StorageRoot> OpenAsync(string path) =>
        StorageRoot.OpenAsync(path, new StorageOptions { Snapshotter = "overlayfs" }, CancellationToken.None);

    private static void Say(string line)
    {
        Console.Out.WriteLine(line);
        Console.Out.Flush();
    }

    // Chains of records, each finalized, some with blobs.
    private static async Task KeepAsync(StorageRoot storage)
    {
        while (true)
        {
            IImmutableRef? parent = null;
            for (var depth = 0; depth < 4; depth++)
            {
                var made = await MakeAsync(storage, parent, "kept");
                await made.FinalizeAsync(CancellationToken.None);
                Say($"kept {made.Id} {made.Metadata.Get("file")}");
                if (parent is not null)
                    await parent.DisposeAsync();
                parent = made;
            }

            await parent!.GetRemotesAsync(createIfNeeded: true, CompressionOptions.Default, all: false, CancellationToken.None);
            Say($"blob {parent.Id}");
            await parent.DisposeAsync();
        }
    }

    // Records that are thrown away in every possible state, and pruned.
    private static async Task DropAsync(StorageRoot storage)
    {
        while (true)
        {
            var writable = await storage.Refs.NewAsync(null, new RefOptions { Description = "dropped" }, CancellationToken.None);
            await writable.DisposeAsync();
            await (await MakeAsync(storage, null, "dropped")).DisposeAsync();
            await using (var lower = await MakeAsync(storage, null, "dropped"))
            await using (var upper = await MakeAsync(storage, lower, "dropped"))
            {
                await upper.GetRemotesAsync(createIfNeeded: true, CompressionOptions.Default, all: false, CancellationToken.None);
                await using var merged = await storage.Refs.MergeAsync([upper, lower], RefOptions.Default with { Description = "dropped" }, CancellationToken.None);
                await merged!.ExtractAsync(CancellationToken.None);
            }

            await storage.Refs.PruneAsync(
                [new PruneOptions(["description==dropped"], true, TimeSpan.Zero, 0, 0, 0)], static _ => { }, CancellationToken.None);
        }
    }

    private static async Task<IImmutableRef> MakeAsync(StorageRoot storage, IImmutableRef? parent, string description)
    {
        var writable = await storage.Refs.NewAsync(parent, new RefOptions { Description = description }, CancellationToken.None);
        var file = writable.Id;
        await using (var lease = await (await writable.MountAsync(readOnly: false, CancellationToken.None)).AcquireAsync(CancellationToken.None))
            await File.WriteAllTextAsync(Path.Combine(lease.Mounts[0].Source, file), file);
        var made = await writable.CommitAsync(CancellationToken.None);
        made.Metadata.Set("file", file);
        return made;
    }
}
