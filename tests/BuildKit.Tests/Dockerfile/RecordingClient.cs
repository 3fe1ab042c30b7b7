using System.Text;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Tests.Dockerfile;

/// <summary>A daemon that answers from a vector's files and remembers what it was asked.</summary>
internal sealed class RecordingClient(FrontendBuildOptions options, Func<string, string> folder, IReadOnlyList<Definition>? known = null) : IFrontendClient
{
    private readonly Lock _lock = new();

    public FrontendBuildOptions Options => options;

    public List<Definition> Definitions { get; } = [];

    public List<string> Calls { get; } = [];

    public List<string> Warnings { get; } = [];

    public Task<FrontendResult> SolveAsync(FrontendSolveRequest request, CancellationToken cancellationToken)
    {
        var result = new FrontendResult();
        lock (_lock)
        {
            if (request.Frontend.Length > 0)
            {
                Calls.Add($"Solve {request.Frontend} {string.Join(',', request.FrontendOpts.OrderBy(static o => o.Key, StringComparer.Ordinal).Select(static o => o.Key + "=" + o.Value))}");
                result.Metadata["forwarded"] = "1"u8.ToArray();
                result.Reference = new FolderReference(0, "/nowhere");
                return Task.FromResult(result);
            }
            var definition = request.Definition!;
            GoldenDefinitions.NameProgressGroups(definition);
            var index = Index(definition);
            Calls.Add($"Solve {index}{(request.Evaluate ? " evaluate" : "")}{(request.CacheImports.Count > 0 ? " imports " + request.CacheImports.Count : "")}");
            result.Reference = new FolderReference(index, folder(GoldenDefinitions.SourceFolder(definition)));
        }
        return Task.FromResult(result);
    }

    public async Task<FrontendImageConfig> ResolveImageConfigAsync(string reference, ImageConfigQuery query, CancellationToken cancellationToken)
    {
        Record("ResolveImageConfig", reference, query);
        await Task.Yield();
        return Resolve(reference, query);
    }

    public Task<FrontendImageConfig> ResolveSourceMetadataAsync(string identifier, ImageConfigQuery query, CancellationToken cancellationToken)
    {
        // The recorded platform is the daemon's own when none is named.
        Record("ResolveSourceMetadata", identifier, query with { Platform = query.Platform ?? new Platform("linux", "amd64") });
        const string scheme = "docker-image://";
        return Task.FromResult(Resolve(identifier[scheme.Length..], query) with { Reference = identifier });
    }

    public Task<IReadOnlyDictionary<string, Definition>> GetInputsAsync(CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyDictionary<string, Definition>>(new Dictionary<string, Definition>(StringComparer.Ordinal));

    public Task WarnAsync(Digest vertex, FrontendWarning warning, CancellationToken cancellationToken)
    {
        lock (_lock)
            Warnings.Add(string.Join('|', warning.Short, string.Join(';', warning.Detail), warning.Url, warning.Level, vertex, Ranges(warning.Ranges)));
        return Task.CompletedTask;
    }

    public static string Ranges(IEnumerable<BuildKit.Dockerfile.Parsing.SourceRange> ranges) =>
        string.Join(' ', ranges.Select(static r => $"{r.StartLine},{r.StartCharacter},{r.EndLine},{r.EndCharacter}"));

    private int Index(Definition definition)
    {
        // Platforms are solved at the same time: a definition gets the number it has in the vector.
        var index = known is null ? -1 : known.ToList().FindIndex(d => d.Def.Count == definition.Def.Count && d.Def.SequenceEqual(definition.Def) && !Definitions.Contains(d));
        Definitions.Add(definition);
        return index >= 0 ? index : Definitions.Count - 1;
    }

    private void Record(string call, string reference, ImageConfigQuery query)
    {
        lock (_lock)
            Calls.Add($"{call} {reference} [{query.Platform?.Normalize().FormatAll()}] {query.ResolveMode} {(query.OciStoreId is null ? "" : query.OciSessionId + "/" + query.OciStoreId)} {query.LogName}");
    }

    private static FrontendImageConfig Resolve(string reference, ImageConfigQuery query)
    {
        var at = reference.IndexOf('@', StringComparison.Ordinal);
        var name = at < 0 ? reference : reference[..at];
        var file = query.OciStoreId is null ? name : "docker.io/library/alpine:3.20";
        var path = Golden.Path("dockerfile", "_images", file.Replace('/', '_').Replace(':', '_') + ".json");
        if (!File.Exists(path))
            throw new InvalidOperationException($"{reference}: not found");
        var platform = (query.Platform ?? new Platform("linux", "amd64")).Normalize();
        var config = File.ReadAllText(path)
            .Replace("@ARCH@", platform.Architecture, StringComparison.Ordinal)
            .Replace("@OS@", platform.Os, StringComparison.Ordinal)
            .Replace("@VARIANT@", platform.Variant.Length > 0 ? $"\"variant\":\"{platform.Variant}\"," : "", StringComparison.Ordinal);
        return new FrontendImageConfig(reference, Digest.Sha256("manifest " + name), Encoding.UTF8.GetBytes(config));
    }
}

/// <summary>A result whose files lie in a folder.</summary>
internal sealed class FolderReference(int definition, string folder) : IFrontendReference
{
    public int Definition => definition;

    public async Task<byte[]> ReadFileAsync(string path, long offset, long? length, CancellationToken cancellationToken)
    {
        var bytes = await File.ReadAllBytesAsync(Path.Combine(folder, path.TrimStart('/')), cancellationToken);
        return length is null ? bytes[(int)offset..] : bytes[(int)offset..(int)Math.Min(bytes.Length, offset + length.Value)];
    }

    public Task<IReadOnlyList<FrontendFileInfo>> ReadDirAsync(string path, string includePattern, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<FrontendFileInfo>>([.. Directory.GetFiles(Path.Combine(folder, path.TrimStart('/'))).Select(static f => new FrontendFileInfo(Path.GetFileName(f), 0, 0))]);

    public Task<FrontendFileInfo> StatFileAsync(string path, CancellationToken cancellationToken) =>
        Task.FromResult(new FrontendFileInfo(path, 0, new FileInfo(Path.Combine(folder, path.TrimStart('/'))).Length));
}

/// <summary>Reads and prints definitions.</summary>
internal static class GoldenDefinitions
{
    /// <summary>Which of a vector's folders holds the files of a definition's result.</summary>
    public static string SourceFolder(Definition definition)
    {
        if (definition.Def.Count < 2 || Op.Parser.ParseFrom(definition.Def[^2]).Source is not { } source)
            return "dockerfile";
        const string local = "local://";
        if (source.Identifier.StartsWith(local, StringComparison.Ordinal))
            return source.Identifier[local.Length..];
        return source.Identifier.StartsWith("http", StringComparison.Ordinal) ? "context" : "dockerfile";
    }

    /// <summary>Replaces random group ids by numbers in order of the definition.</summary>
    public static void NameProgressGroups(Definition definition)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var op in definition.Def)
        {
            if (!definition.Metadata.TryGetValue(Digest.Sha256(op.Span).ToString(), out var metadata) || metadata.ProgressGroup is not { } group)
                continue;
            if (!names.TryGetValue(group.Id, out var name))
                names.Add(group.Id, name = $"progress-group-{names.Count + 1}");
            group.Id = name;
        }
    }

    /// <summary>A definition as lines: operations, metadata, positions.</summary>
    public static string Print(Definition definition)
    {
        var text = new StringBuilder();
        foreach (var bytes in definition.Def)
        {
            var digest = Digest.Sha256(bytes.Span).ToString();
            text.Append(digest).Append('\n').Append("  op ").Append(Op.Parser.ParseFrom(bytes)).Append('\n');
            if (definition.Metadata.TryGetValue(digest, out var metadata))
            {
                text.Append("  ignore ").Append(metadata.IgnoreCache).Append(" group ").Append(metadata.ProgressGroup?.ToString() ?? "-").Append('\n');
                foreach (var (key, value) in metadata.Description.OrderBy(static d => d.Key, StringComparer.Ordinal))
                    text.Append("  ").Append(key).Append(" = ").Append(value).Append('\n');
                text.Append("  caps ").AppendJoin(' ', metadata.Caps.Keys.Order(StringComparer.Ordinal)).Append('\n');
            }
            if (definition.Source?.Locations.TryGetValue(digest, out var locations) is true)
                text.Append("  at ").AppendJoin(" / ", locations.Locations_.Select(static l => l.SourceIndex + ":" + string.Join(' ', l.Ranges.Select(static r => $"{r.Start?.Line},{r.Start?.Character},{r.End?.Line},{r.End?.Character}")))).Append('\n');
        }
        foreach (var info in definition.Source?.Infos ?? [])
            text.Append("source ").Append(info.Filename).Append(' ').Append(info.Language).Append(' ').Append(Digest.Sha256(info.Data.Span)).Append(' ').Append(info.Definition?.Def.Count).Append('\n');
        return text.ToString();
    }
}
