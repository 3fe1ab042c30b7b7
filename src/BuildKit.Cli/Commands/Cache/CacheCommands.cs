using BuildKit.CommandLine;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;

namespace BuildKit.Cli.Commands.Cache;

/// <summary><c>buildctl cache …</c>: looks at remote caches and keeps them in order, without a daemon. Nothing of it is loaded
/// before one of the commands runs.</summary>
internal static class CacheCommands
{
    /// <summary>The group.</summary>
    public static Command Create() => new("cache", "inspect, verify, copy, prune and compare remote build caches")
    {
        Commands =
        [
            new("inspect", "show the records and layers of a cache")
            {
                ArgumentsText = "CACHE",
                Flags = static () =>
                [
                    new("format", FlagKind.String, "what to print: text or json") { Default = "text" },
                    new("tree", FlagKind.Bool, "show how the records follow from each other"),
                ],
                RunAsync = static (context, flags, token) => CacheSession.RunAsync(context, session => InspectAsync(session, context, flags, token)),
            },
            new("verify", "read every layer of a cache and compare it with its digest")
            {
                ArgumentsText = "CACHE",
                RunAsync = static (context, flags, token) => CacheSession.RunAsync(context, session => VerifyAsync(session, context, flags, token)),
            },
            new("copy", "copy a cache to another place; with merge=true at the target it joins the cache there")
            {
                ArgumentsText = "SOURCE TARGET",
                RunAsync = static (context, flags, token) => CacheSession.RunAsync(context, session => CopyAsync(session, context, flags, token)),
            },
            new("prune", "drop old results of a cache and remove layers that nothing needs")
            {
                ArgumentsText = "CACHE",
                Flags = static () =>
                [
                    new("keep-duration", FlagKind.String, "keep results that a build used within this time, e.g., 72h"),
                    new("keep-bytes", FlagKind.String, "keep at most so many bytes of layers, last used first, e.g., 10GB"),
                    new("min-age", FlagKind.Duration, "never remove layers younger than this: exports under way need them") { Default = "1h" },
                ],
                RunAsync = static (context, flags, token) => CacheSession.RunAsync(context, session => PruneAsync(session, context, flags, token)),
            },
            new("diff", "show what one cache has and another has not")
            {
                ArgumentsText = "FIRST SECOND",
                RunAsync = static (context, flags, token) => CacheSession.RunAsync(context, session => DiffAsync(session, context, flags, token)),
            },
        ],
    };

    private static async Task InspectAsync(CacheSession session, CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var isJson = flags.String("format") switch
        {
            "json" => true,
            "text" or "" => false,
            var other => throw new CommandException($"unknown format {other}: text and json are known"),
        };
        var location = CacheSession.Location(context, flags, 0, 1, "CACHE");
        var inventory = new CacheInventory(await session.Tools.ReadAsync(location, session.Progress, believe: true, cancellationToken));
        if (isJson)
            context.Print(CacheJson.Of(location, inventory));
        else
            CacheText.Write(context, location, inventory, flags.Bool("tree"));
    }

    private static async Task VerifyAsync(CacheSession session, CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var location = CacheSession.Location(context, flags, 0, 1, "CACHE");
        var cache = await session.Tools.ReadAsync(location, session.Progress, believe: true, cancellationToken);
        var damaged = await CacheVerification.RunAsync(cache, null, cancellationToken);
        foreach (var (layer, why) in damaged)
            context.Print($"{layer.Digest}  {CacheText.Size(layer.Size)}  {why}\n");
        if (damaged.Count > 0)
            throw new CommandException($"{damaged.Count} of {cache.Blobs.Count} layers of {location} cannot be used");
        context.Print($"{cache.Blobs.Count} layers, {CacheText.Size(cache.Blobs.Values.Sum(static blob => blob.Descriptor.Size))}: all present and intact\n");
    }

    private static async Task CopyAsync(CacheSession session, CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var source = CacheSession.Location(context, flags, 0, 2, "SOURCE and TARGET");
        var target = CacheSession.Location(context, flags, 1, 2, "SOURCE and TARGET");
        var copied = await session.Tools.CopyAsync(source, target, session.Progress, cancellationToken);
        context.Print($"copied {copied.Config.Records.Count} records and {copied.Blobs.Count} layers, {CacheText.Size(copied.Blobs.Values.Sum(static blob => blob.Descriptor.Size))}, to {target}\n");
    }

    private static async Task PruneAsync(CacheSession session, CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var location = CacheSession.Location(context, flags, 0, 1, "CACHE");
        var limits = CacheLimits.Read(new[] { "keep-duration", "keep-bytes" }.Where(flags.IsSet).ToDictionary(static name => name, flags.String, StringComparer.Ordinal));
        var pruned = await session.Tools.PruneAsync(location, new CachePruneRequest(limits, flags.Duration("min-age")), cancellationToken);
        foreach (var (name, size) in pruned.Removed)
            context.Print($"{name}  {CacheText.Size(size)}\n");
        context.Print($"results: {pruned.ResultsAfter} of {pruned.ResultsBefore} kept\n");
        context.Print($"layers: {pruned.Removed.Count} no longer needed, {CacheText.Size(pruned.Removed.Sum(static layer => layer.Size))}{(pruned.Remark.Length > 0 ? "; " + pruned.Remark : "")}\n");
        if (pruned.Young > 0)
            context.Print($"{CacheText.Size(pruned.Young)} of layers that nothing names are younger than {flags.String("min-age")}, or were named until now, and stay\n");
    }

    private static async Task DiffAsync(CacheSession session, CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        var first = CacheSession.Location(context, flags, 0, 2, "FIRST and SECOND");
        var second = CacheSession.Location(context, flags, 1, 2, "FIRST and SECOND");
        var a = new CacheInventory(await session.Tools.ReadAsync(first, session.Progress, believe: true, cancellationToken));
        var b = new CacheInventory(await session.Tools.ReadAsync(second, session.Progress, believe: true, cancellationToken));
        CacheText.Write(context, CacheDifference.Between(a, b));
    }
}
