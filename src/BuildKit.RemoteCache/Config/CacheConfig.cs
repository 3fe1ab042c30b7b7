using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Config;

/// <summary>The document <c>application/vnd.buildkit.cacheconfig.v0</c>: cache keys as a graph of records, and the layers of
/// their results (spec 04 §2).</summary>
/// <param name="Layers">Layer entries; a chain is followed by parent index.</param>
/// <param name="Records">Records, linked by index.</param>
public sealed record CacheConfig(IReadOnlyList<CacheConfigLayer> Layers, IReadOnlyList<CacheConfigRecord> Records)
{
    /// <summary>When not null, more of this cache may lie in parts beside this document, and readers who know of them take them
    /// all together; those named here are contained in it. An extension: readers of the original leave the key out.</summary>
    public IReadOnlyList<string>? Parts { get; init; }

    /// <summary>Contents of cache mounts, by id; see <see cref="CacheConfigMount"/>.</summary>
    public IReadOnlyList<CacheConfigMount> Mounts { get; init; } = [];

    /// <summary>Reads a document. Unknown keys are ignored, names match without case.</summary>
    /// <exception cref="FormatException">It is no such document.</exception>
    public static CacheConfig Parse(ReadOnlyMemory<byte> json)
    {
        using var document = Open(json);
        List<CacheConfigLayer> layers = [];
        List<CacheConfigRecord> records = [];
        List<CacheConfigMount> mounts = [];
        List<string>? parts = null;
        foreach (var property in Members(document.RootElement, "cache config"))
        {
            if (Is(property, "layers"))
                layers = Items(property.Value, ReadLayer);
            else if (Is(property, "records"))
                records = Items(property.Value, ReadRecord);
            else if (Is(property, "mounts"))
                mounts = Items(property.Value, ReadMount);
            else if (Is(property, "parts"))
                parts = Items(property.Value, static item => item.ValueKind == JsonValueKind.String ? item.GetString()! : throw new FormatException("invalid cache config: the name of a part is no text"));
        }
        return new CacheConfig(layers, records) { Parts = parts, Mounts = mounts };
    }

    /// <summary>Reads the bare list of records of an inline cache.</summary>
    /// <exception cref="FormatException">It is no such list.</exception>
    public static IReadOnlyList<CacheConfigRecord> ParseRecords(ReadOnlyMemory<byte> json)
    {
        using var document = Open(json);
        return Items(document.RootElement, ReadRecord);
    }

    /// <summary>The document's bytes, as the ecosystem's tools write them.</summary>
    public byte[] ToJson()
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartObject();
        WriteList(writer, "layers", Layers, layer => layer.WriteTo(writer));
        WriteList(writer, "records", Records, record => record.WriteTo(writer));
        WriteList(writer, "mounts", Mounts, mount => mount.WriteTo(writer));
        if (Parts is not null)
        {
            writer.WriteName("parts");
            writer.WriteStartArray();
            foreach (var part in Parts)
                writer.WriteString(part);
            writer.WriteEndArray();
        }
        writer.WriteEndObject();
        return writer.ToArray();
    }

    /// <summary>Only the records, as inline caches hold them.</summary>
    public static byte[] RecordsToJson(IReadOnlyList<CacheConfigRecord> records)
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartArray();
        foreach (var record in records)
            record.WriteTo(writer);
        writer.WriteEndArray();
        return writer.ToArray();
    }

    internal static void WriteList<T>(CanonicalJsonWriter writer, string name, IReadOnlyList<T> items, Action<T> write)
    {
        if (items.Count == 0)
            return;
        writer.WriteName(name);
        writer.WriteStartArray();
        foreach (var item in items)
            write(item);
        writer.WriteEndArray();
    }

    private static JsonDocument Open(ReadOnlyMemory<byte> json)
    {
        try
        {
            return JsonDocument.Parse(json);
        }
        catch (JsonException e)
        {
            throw new FormatException($"invalid cache config: {e.Message}", e);
        }
    }

    private static CacheConfigLayer ReadLayer(JsonElement element)
    {
        var layer = new CacheConfigLayer(default, 0, null);
        foreach (var property in Members(element, "layer"))
        {
            if (Is(property, "blob"))
                layer = layer with { Blob = Digest.Unchecked(Text(property)) };
            else if (Is(property, "parent"))
                layer = layer with { Parent = (int)Number(property) };
            else if (Is(property, "annotations") && property.Value.ValueKind != JsonValueKind.Null)
                layer = layer with { Annotations = ReadAnnotations(property.Value) };
        }
        return layer;
    }

    private static CacheLayerAnnotations ReadAnnotations(JsonElement element)
    {
        var annotations = new CacheLayerAnnotations("", default, 0, Zero);
        foreach (var property in Members(element, "annotations"))
        {
            if (Is(property, "mediaType"))
                annotations = annotations with { MediaType = Text(property) };
            else if (Is(property, "diffID"))
                annotations = annotations with { DiffId = Digest.Unchecked(Text(property)) };
            else if (Is(property, "size"))
                annotations = annotations with { Size = Number(property) };
            else if (Is(property, "createdAt"))
                annotations = annotations with { CreatedAt = Time(property) };
            else if (Is(property, EStargzAnnotations.TocDigest))
                annotations = annotations with { TocDigest = Text(property) };
            else if (Is(property, EStargzAnnotations.UncompressedSize))
                annotations = annotations with { UncompressedSize = Text(property) };
        }
        return annotations;
    }

    private static CacheConfigMount ReadMount(JsonElement element)
    {
        var mount = new CacheConfigMount("", default, new CacheLayerAnnotations("", default, 0, Zero));
        foreach (var property in Members(element, "mount"))
        {
            if (Is(property, "id"))
                mount = mount with { Id = Text(property) };
            else if (Is(property, "blob"))
                mount = mount with { Blob = Digest.Unchecked(Text(property)) };
            else if (Is(property, "annotations"))
                mount = mount with { Layer = ReadAnnotations(property.Value) };
            else if (Is(property, "usedAt"))
                mount = mount with { UsedAt = Time(property) };
        }
        return mount;
    }

    private static CacheConfigRecord ReadRecord(JsonElement element)
    {
        var record = new CacheConfigRecord(default);
        foreach (var property in Members(element, "record"))
        {
            if (Is(property, "layers"))
                record = record with { Results = Items(property.Value, ReadResult) };
            else if (Is(property, "chains"))
                record = record with { Chains = Items(property.Value, ReadChain) };
            else if (Is(property, "digest"))
                record = record with { Digest = Digest.Unchecked(Text(property)) };
            else if (Is(property, "inputs"))
                record = record with { Inputs = Items<IReadOnlyList<CacheConfigLink>>(property.Value, input => Items(input, ReadLink)) };
            else if (Is(property, "usedAt"))
                record = record with { UsedAt = Time(property) };
        }
        return record;
    }

    private static CacheConfigResult ReadResult(JsonElement element)
    {
        var result = new CacheConfigResult(0, Zero);
        foreach (var property in Members(element, "result"))
        {
            if (Is(property, "layer"))
                result = result with { Layer = (int)Number(property) };
            else if (Is(property, "createdAt"))
                result = result with { CreatedAt = Time(property) };
        }
        return result;
    }

    private static CacheConfigChain ReadChain(JsonElement element)
    {
        var chain = new CacheConfigChain([], Zero);
        foreach (var property in Members(element, "chain"))
        {
            if (Is(property, "layers"))
                chain = chain with { Layers = Items(property.Value, item => item.GetInt32()) };
            else if (Is(property, "createdAt"))
                chain = chain with { CreatedAt = Time(property) };
        }
        return chain;
    }

    private static CacheConfigLink ReadLink(JsonElement element)
    {
        var link = new CacheConfigLink("", 0);
        foreach (var property in Members(element, "input"))
        {
            if (Is(property, "selector"))
                link = link with { Selector = Text(property) };
            else if (Is(property, "link"))
                link = link with { Link = (int)Number(property) };
        }
        return link;
    }

    private static Rfc3339Time Zero => Rfc3339Time.From(DateTimeOffset.MinValue);

    private static bool Is(JsonProperty property, string name) => string.Equals(property.Name, name, StringComparison.OrdinalIgnoreCase);

    private static IEnumerable<JsonProperty> Members(JsonElement element, string what) =>
        element.ValueKind == JsonValueKind.Object
            ? element.EnumerateObject()
            : throw new FormatException($"invalid cache config: {what} is {element.ValueKind}, expected an object");

    private static List<T> Items<T>(JsonElement element, Func<JsonElement, T> read) => element.ValueKind switch
    {
        JsonValueKind.Null => [],
        JsonValueKind.Array => element.EnumerateArray().Select(read).ToList(),
        _ => throw new FormatException($"invalid cache config: found {element.ValueKind}, expected a list"),
    };

    private static string Text(JsonProperty property) => property.Value.ValueKind switch
    {
        JsonValueKind.String => property.Value.GetString()!,
        JsonValueKind.Null => "",
        _ => throw new FormatException($"invalid cache config: {property.Name} is {property.Value.ValueKind}, expected text"),
    };

    private static long Number(JsonProperty property) =>
        property.Value.ValueKind == JsonValueKind.Number && property.Value.TryGetInt64(out var value)
            ? value
            : throw new FormatException($"invalid cache config: {property.Name} is not a number");

    private static Rfc3339Time Time(JsonProperty property) => Rfc3339Time.Parse(Text(property));
}

/// <summary>One layer entry.</summary>
/// <param name="Blob">Digest of the blob.</param>
/// <param name="Parent">Index of the entry below; -1 for none. A missing number means 0.</param>
/// <param name="Annotations">What the blob is; only in caches without a manifest.</param>
public sealed record CacheConfigLayer(Digest Blob, int Parent, CacheLayerAnnotations? Annotations = null)
{
    internal void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteText("blob", Blob.ToString());
        writer.WriteNonZero("parent", Parent);
        if (Annotations is not null)
        {
            writer.WriteName("annotations");
            Annotations.WriteTo(writer);
        }
        writer.WriteEndObject();
    }
}

/// <summary>What a layer blob is. The size is in bytes.</summary>
public sealed record CacheLayerAnnotations(string MediaType, Digest DiffId, long Size, Rfc3339Time CreatedAt)
{
    /// <summary>Of an eStargz blob the digest of its table of contents. An extension, as eStargz in stores without manifests is;
    /// readers of the original leave it out.</summary>
    public string TocDigest { get; init; } = "";

    /// <summary>Of an eStargz blob what goes with <see cref="TocDigest"/>.</summary>
    public string UncompressedSize { get; init; } = "";

    internal void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteText("mediaType", MediaType);
        writer.WriteText("diffID", DiffId.ToString());
        writer.WriteNonZero("size", Size);
        writer.WriteName("createdAt");
        writer.WriteString(CreatedAt.ToString());
        writer.WriteText(EStargzAnnotations.TocDigest, TocDigest);
        writer.WriteText(EStargzAnnotations.UncompressedSize, UncompressedSize);
        writer.WriteEndObject();
    }
}

/// <summary>One record: a key, the keys it follows from and its results.</summary>
/// <param name="Digest">Record digest; any text is accepted.</param>
public sealed record CacheConfigRecord(Digest Digest)
{
    /// <summary>Results by layer entry.</summary>
    public IReadOnlyList<CacheConfigResult> Results { get; init; } = [];

    /// <summary>Results that list every layer.</summary>
    public IReadOnlyList<CacheConfigChain> Chains { get; init; } = [];

    /// <summary>For each input, the links that lead to this record.</summary>
    public IReadOnlyList<IReadOnlyList<CacheConfigLink>> Inputs { get; init; } = [];

    /// <summary>When a build last exported this record into a cache that several share; null when nobody noted it. An extension
    /// that readers of the original leave out.</summary>
    public Rfc3339Time? UsedAt { get; init; }

    internal void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        CacheConfig.WriteList(writer, "layers", Results, result =>
        {
            writer.WriteStartObject();
            writer.WriteName("layer");
            writer.WriteNumber(result.Layer);
            writer.WriteName("createdAt");
            writer.WriteString(result.CreatedAt.ToString());
            writer.WriteEndObject();
        });
        CacheConfig.WriteList(writer, "chains", Chains, chain =>
        {
            writer.WriteStartObject();
            writer.WriteName("layers");
            writer.WriteStartArray();
            foreach (var layer in chain.Layers)
                writer.WriteNumber(layer);
            writer.WriteEndArray();
            writer.WriteName("createdAt");
            writer.WriteString(chain.CreatedAt.ToString());
            writer.WriteEndObject();
        });
        writer.WriteText("digest", Digest.ToString());
        CacheConfig.WriteList(writer, "inputs", Inputs, links =>
        {
            writer.WriteStartArray();
            foreach (var link in links)
            {
                writer.WriteStartObject();
                writer.WriteText("selector", link.Selector);
                writer.WriteName("link");
                writer.WriteNumber(link.Link);
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
        });
        if (UsedAt is { } usedAt)
        {
            writer.WriteName("usedAt");
            writer.WriteString(usedAt.ToString());
        }
        writer.WriteEndObject();
    }
}

/// <summary>A result: the chain that ends in a layer entry.</summary>
public sealed record CacheConfigResult(int Layer, Rfc3339Time CreatedAt);

/// <summary>A result that lists its layers, base first.</summary>
public sealed record CacheConfigChain(IReadOnlyList<int> Layers, Rfc3339Time CreatedAt);

/// <summary>A link to the record an input has; the selector says which part of it is used.</summary>
public sealed record CacheConfigLink(string Selector, int Link);
