using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>An image config document (spec 05 §7.1, spec 07 §7.1). Always written compact. Unknown keys are not kept; the
/// exporter, which must keep them, works on <see cref="RawJsonObject"/>.</summary>
public sealed record ImageConfig
{
    /// <summary>When the image was created, if known.</summary>
    public Rfc3339Time? Created { get; init; }

    /// <summary>Author; empty when not given.</summary>
    public string Author { get; init; } = "";

    /// <summary>Operating system, architecture and their details, as written (not normalised).</summary>
    public Platform Platform { get; init; } = new("", "");

    /// <summary>How containers of the image run.</summary>
    public ContainerConfig Config { get; init; } = new();

    /// <summary>Type of the root file system: <c>layers</c>.</summary>
    public string RootFsType { get; init; } = "layers";

    /// <summary>Digests of the uncompressed layers, bottom first; none is written as <c>null</c>.</summary>
    public IReadOnlyList<Digest> DiffIds { get; init; } = [];

    /// <summary>What was done, oldest first.</summary>
    public IReadOnlyList<HistoryEntry> History { get; init; } = [];

    /// <summary>The default search path of images without one, on everything but Windows.</summary>
    public const string DefaultUnixPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>The default search path of Windows images.</summary>
    public const string DefaultWindowsPath = @"c:\Windows\System32;c:\Windows";

    /// <summary>The config of an image with nothing in it (spec 05 §7.1, spec 07 §7.5).</summary>
    public static ImageConfig Empty(Platform platform) => new()
    {
        Platform = platform,
        Config = new ContainerConfig
        {
            WorkingDir = "/",
            Env = ["PATH=" + (platform.Os == "windows" ? DefaultWindowsPath : DefaultUnixPath)],
        },
    };

    /// <summary>Reads a config; unknown keys are ignored.</summary>
    /// <exception cref="FormatException">Not a config.</exception>
    public static ImageConfig Parse(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "image config");
        var config = new ImageConfig { RootFsType = "" };
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Is("created"))
                config = config with { Created = property.Time() };
            else if (property.Is("author"))
                config = config with { Author = property.Text() };
            else if (property.Is("config"))
                config = config with { Config = ContainerConfig.Read(property) };
            else if (property.Is("rootfs"))
                config = config.WithRootFs(property);
            else if (property.Is("history"))
                config = config with { History = property.List(HistoryEntry.Read) };
            else
                config = config with { Platform = config.Platform.WithField(property) };
        }
        return config;
    }

    /// <summary>The document as the Dockerfile frontend writes it:
    /// <c>created author architecture os … rootfs history config</c> (spec 05 §7.1).</summary>
    public byte[] ToFrontendJson()
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartObject();
        WriteHead(writer);
        WriteRootFs(writer, DiffIds, RootFsType);
        if (History.Count > 0)
            HistoryEntry.WriteAll(writer, History);
        WriteConfig(writer);
        writer.WriteEndObject();
        return writer.ToArray();
    }

    /// <summary>The document as a fresh struct: <c>created author architecture os … config rootfs history</c> (spec 07 §7.1).</summary>
    public byte[] ToJson()
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartObject();
        WriteHead(writer);
        WriteConfig(writer);
        WriteRootFs(writer, DiffIds, RootFsType);
        if (History.Count > 0)
            HistoryEntry.WriteAll(writer, History);
        writer.WriteEndObject();
        return writer.ToArray();
    }

    internal static void WriteRootFsValue(CanonicalJsonWriter writer, IReadOnlyList<Digest> diffIds, string type)
    {
        writer.WriteStartObject();
        writer.WriteName("type");
        writer.WriteString(type);
        writer.WriteName("diff_ids");
        if (diffIds.Count == 0)
            writer.WriteNull();
        else
        {
            writer.WriteStartArray();
            foreach (var diffId in diffIds)
                writer.WriteString(diffId.ToString());
            writer.WriteEndArray();
        }
        writer.WriteEndObject();
    }

    private static void WriteRootFs(CanonicalJsonWriter writer, IReadOnlyList<Digest> diffIds, string type)
    {
        writer.WriteName("rootfs");
        WriteRootFsValue(writer, diffIds, type);
    }

    private void WriteHead(CanonicalJsonWriter writer)
    {
        if (Created is { } created)
        {
            writer.WriteName("created");
            writer.WriteString(created.ToString());
        }
        writer.WriteText("author", Author);
        Platform.WriteFieldsTo(writer);
    }

    private void WriteConfig(CanonicalJsonWriter writer)
    {
        writer.WriteName("config");
        Config.WriteTo(writer);
    }

    private ImageConfig WithRootFs(JsonProperty rootFs)
    {
        var config = this;
        foreach (var property in JsonReading.Object(rootFs.Value, rootFs.Name))
        {
            if (property.Is("type"))
                config = config with { RootFsType = property.Text() };
            else if (property.Is("diff_ids"))
                config = config with { DiffIds = property.List(element => Digest.Parse(JsonReading.Text(element, "diff_ids"))) };
        }
        return config;
    }
}
