using System.Security.Cryptography;
using BuildKit.Linux.Patterns;
using BuildKit.Oci;
using BuildKit.Session.FileSync;
using BuildKit.Worker.Exporters.Trees;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>Attestations as files beside an exported tree (spec 07 §5).</summary>
internal static class AttestationFiles
{
    /// <summary>The tree with the attestation files of its platform.</summary>
    public static async Task<IFileTree> AddAsync(
        IFileTree tree, ExportRequest request, string id, TreeExportOptions options, Rfc3339Time? epoch, DateTimeOffset started,
        ExporterServices services, CancellationToken cancellationToken)
    {
        if (!request.Source.Attestations.TryGetValue(id, out var attestations))
            return tree;
        var read = await AttestationReading.ReadAsync(attestations.Where(attestation => !attestation.IsInlineOnly()), services.TemporaryDirectory, cancellationToken);
        if (read.Count == 0)
            return tree;
        var subjects = await SubjectsAsync(tree, cancellationToken);
        var time = epoch ?? (Rfc3339Time.From(started.ToUniversalTime()) with { Nanoseconds = 0 });
        var files = new SortedDictionary<string, (SyncStat, byte[])>(Comparer<string>.Create(PathOrder.Compare));
        foreach (var attestation in read)
        {
            var name = Name(attestation.Source.Path, id, options);
            var json = InTotoStatements.Make(attestation, subjects, indented: true);
            var stat = new SyncStat { Path = name, Mode = 0x180, Size = json.Length, ModTime = ExportTree.Nanoseconds(time) }; // 0600
            if (!files.TryAdd(name, (stat, json)))
                throw new InvalidOperationException($"duplicate attestation path name {name}");
        }
        return new TreeWithFiles(tree, files);
    }

    private static string Name(string path, string id, TreeExportOptions options)
    {
        var name = options.AttestationPrefix + path[(path.LastIndexOf('/') + 1)..];
        if (options.PlatformSplit)
            return name;
        var dot = name.LastIndexOf('.');
        var (stem, extension) = dot < 0 ? (name, "") : (name[..dot], name[dot..]);
        return $"{stem}.{id.Replace('/', '_')}{extension}";
    }

    private static async Task<List<StatementSubject>> SubjectsAsync(IFileTree tree, CancellationToken cancellationToken)
    {
        var subjects = new List<StatementSubject>();
        foreach (var stat in tree.Walk(cancellationToken))
        {
            if (!stat.IsRegular)
                continue;
            await using var file = tree.Open(stat.Path) ?? throw new IOException($"open {stat.Path}: no such file or directory");
            subjects.Add(new StatementSubject(stat.Path, [Digest.FromSha256(await SHA256.HashDataAsync(file, cancellationToken))]));
        }
        return subjects;
    }

    /// <summary>A tree with files made in memory at its root; they win over those of the tree.</summary>
    private sealed class TreeWithFiles(IFileTree tree, SortedDictionary<string, (SyncStat Stat, byte[] Bytes)> files) : IFileTree
    {
        public IEnumerable<SyncStat> Walk(CancellationToken cancellationToken)
        {
            using var own = files.Values.GetEnumerator();
            var isOwnLeft = own.MoveNext();
            foreach (var stat in tree.Walk(cancellationToken))
            {
                while (isOwnLeft && PathOrder.Compare(own.Current.Stat.Path, stat.Path) < 0)
                {
                    yield return own.Current.Stat;
                    isOwnLeft = own.MoveNext();
                }
                if (!files.ContainsKey(stat.Path))
                    yield return stat;
            }
            for (; isOwnLeft; isOwnLeft = own.MoveNext())
                yield return own.Current.Stat;
        }

        public Stream? Open(string path) =>
            files.TryGetValue(path, out var file) ? new MemoryStream(file.Bytes, writable: false) : tree.Open(path);
    }
}
