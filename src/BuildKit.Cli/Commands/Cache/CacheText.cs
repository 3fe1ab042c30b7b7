using BuildKit.Cli.Text;
using BuildKit.Client.Progress;
using BuildKit.Oci;
using BuildKit.RemoteCache.Tools;

namespace BuildKit.Cli.Commands.Cache;

/// <summary>Caches as people read them.</summary>
internal static class CacheText
{
    private const int ShortDigest = 12;

    /// <summary>A size.</summary>
    public static string Size(long bytes) => GoNumber.Bytes(bytes);

    /// <summary>Writes what is in a cache.</summary>
    public static void Write(CommandContext context, CacheLocation location, CacheInventory inventory, bool asTree)
    {
        context.Print($"{location}\n{inventory.Records.Count} records, {inventory.Results} with a result; {inventory.Layers.Count} layers, {Size(inventory.Size)}\n\n");
        if (asTree)
            WriteTree(context, inventory);
        else
            WriteRecords(context, inventory);
        if (inventory.Layers.Count == 0)
            return;
        context.Print("\n");
        var table = new Table(context);
        table.Add("LAYER\tSIZE\tTYPE\tUSED BY");
        foreach (var layer in inventory.Layers)
        {
            var users = string.Join(' ', layer.UsedBy.Select(index => Short(inventory.Records[index].Record.Digest)).Concat(layer.Mounts.Select(id => "mount=" + id)));
            table.Add($"{layer.Descriptor.Digest}\t{Size(layer.Descriptor.Size)}\t{Compression(layer.Descriptor.MediaType)}\t{(users.Length > 0 ? users : "-")}");
        }
        table.Flush();
    }

    /// <summary>Writes what differs.</summary>
    public static void Write(CommandContext context, CacheDifference difference)
    {
        if (difference.IsEmpty)
        {
            context.Print("no difference\n");
            return;
        }
        foreach (var record in difference.OnlyFirst)
            context.Print($"- record {record}\n");
        foreach (var record in difference.OnlySecond)
            context.Print($"+ record {record}\n");
        foreach (var (record, first, second) in difference.Changed)
            context.Print($"~ record {record}: {Result(first)} -> {Result(second)}\n");
        foreach (var layer in difference.LayersOnlyFirst)
            context.Print($"- layer  {layer.Digest}  {Size(layer.Size)}\n");
        foreach (var layer in difference.LayersOnlySecond)
            context.Print($"+ layer  {layer.Digest}  {Size(layer.Size)}\n");

        static string Result(Digest layer) => layer.IsEmpty ? "no result" : Short(layer);
    }

    private static void WriteRecords(CommandContext context, CacheInventory inventory)
    {
        var table = new Table(context);
        table.Add("RECORD\tINPUTS\tLAYERS\tSIZE\tCREATED\tUSED");
        foreach (var record in inventory.Records)
        {
            var hasResult = record.Chain.Count > 0;
            table.Add($"{Short(record.Record.Digest)}\t{record.Record.Inputs.Count}\t{(hasResult ? record.Chain.Count : "-")}\t{(hasResult ? Size(inventory.SizeOf(record)) : "-")}\t{record.CreatedAt?.ToString() ?? "-"}\t{record.Record.UsedAt?.ToString() ?? "-"}");
        }
        table.Flush();
    }

    /// <summary>Records below those they follow from; one that is reached again is only named. Not by recursion: the graph may be
    /// deeper than a stack.</summary>
    private static void WriteTree(CommandContext context, CacheInventory inventory)
    {
        var shown = new HashSet<int>();
        var pending = new Stack<(int Index, int Depth)>(inventory.Records.Where(static record => record.Record.Inputs.Count == 0).Select(static record => (record.Index, 0)).Reverse());
        while (pending.TryPop(out var next))
        {
            var record = inventory.Records[next.Index];
            var isNew = shown.Add(next.Index);
            var result = record.Chain.Count == 0 ? "no result"
                : $"{record.Chain.Count} layers, {Size(inventory.SizeOf(record))}, {record.CreatedAt}";
            context.Print($"{new string(' ', next.Depth * 2)}{Short(record.Record.Digest)}  {(isNew ? result : "(above)")}\n");
            if (!isNew)
                continue;
            foreach (var dependent in record.Dependents.Reverse())
                pending.Push((dependent, next.Depth + 1));
        }
    }

    private static string Short(Digest digest) => digest.Hex.Length > ShortDigest ? digest.Hex[..ShortDigest] : digest.ToString();

    private static string Compression(string mediaType) => mediaType switch
    {
        _ when mediaType.EndsWith("gzip", StringComparison.Ordinal) => "gzip",
        _ when mediaType.EndsWith("zstd", StringComparison.Ordinal) => "zstd",
        _ when mediaType.EndsWith("tar", StringComparison.Ordinal) => "uncompressed",
        _ => mediaType,
    };
}
