using System.Text;
using System.Text.Json;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>An attestation whose predicate is known.</summary>
/// <param name="Source">What the build gave; for one out of a bundle, with its own path, type and subjects.</param>
/// <param name="Predicate">The predicate; empty for none.</param>
internal sealed record ReadAttestation(ExportAttestation Source, byte[] Predicate);

/// <summary>From the attestations of a build to predicates (spec 07 §9.5 steps 1 to 4).</summary>
internal static class AttestationReading
{
    private const string ProvenancePrefix = "https://slsa.dev/provenance/";
    private const int LargestFile = 256 << 20;

    /// <summary>Whether it is only for images that carry attestations in themselves.</summary>
    public static bool IsInlineOnly(this ExportAttestation attestation) =>
        attestation.Metadata.TryGetValue("inline-only", out var value) && value.AsSpan().SequenceEqual("true"u8);

    /// <summary>Reads all; bundles become their statements, the core SBOM comes first.</summary>
    /// <exception cref="InvalidOperationException">One that is not allowed or has no content.</exception>
    public static async Task<IReadOnlyList<ReadAttestation>> ReadAsync(
        IEnumerable<ExportAttestation> attestations, string temporaryDirectory, CancellationToken cancellationToken)
    {
        var result = new List<ReadAttestation>();
        foreach (var attestation in attestations)
        {
            Validate(attestation);
            if (attestation.IsBundle)
                result.AddRange(await UnbundleAsync(attestation, temporaryDirectory, cancellationToken));
            else if (attestation.Content is null && attestation.PredicateType.StartsWith(ProvenancePrefix, StringComparison.Ordinal))
                throw new InvalidOperationException("frontend may not set provenance attestations");
            else
                result.Add(new ReadAttestation(attestation, attestation.Content is { } make
                    ? await make(cancellationToken)
                    : await ReadFileAsync(attestation, temporaryDirectory, cancellationToken)));
        }
        return [.. result.Where(IsCoreSbom), .. result.Where(attestation => !IsCoreSbom(attestation))];
    }

    private static void Validate(ExportAttestation attestation)
    {
        if (!attestation.IsBundle && attestation.Path.Length == 0)
            throw new InvalidOperationException("attestation does not have set path");
        if (attestation.Ref is null && attestation.Content is null)
            throw new InvalidOperationException("attestation does not have available content");
        if (attestation.IsBundle && attestation.Content is not null)
            throw new InvalidOperationException("attestation bundle cannot have callback");
    }

    private static bool IsCoreSbom(ReadAttestation attestation) =>
        attestation.Source.Metadata.TryGetValue("sbom-core", out var name) && attestation.Source.Path.Split('.')[0] == Encoding.UTF8.GetString(name);

    private static async Task<byte[]> ReadFileAsync(ExportAttestation attestation, string temporaryDirectory, CancellationToken cancellationToken)
    {
        await using var mounted = await MountAsync(attestation.Ref!, temporaryDirectory, cancellationToken);
        return await ReadAsync(mounted.Root, attestation.Path, cancellationToken);
    }

    private static async Task<List<ReadAttestation>> UnbundleAsync(ExportAttestation bundle, string temporaryDirectory, CancellationToken cancellationToken)
    {
        await using var mounted = await MountAsync(bundle.Ref!, temporaryDirectory, cancellationToken);
        var directory = RootedPath.Resolve(mounted.Root, bundle.Path, followLast: true);
        var result = new List<ReadAttestation>();
        foreach (var entry in LinuxDirectory.ReadSorted(directory))
            result.Add(ParseStatement(await ReadAsync(directory, entry.Name, cancellationToken), bundle, entry.Name));
        return result;
    }

    private static ReadAttestation ParseStatement(byte[] json, ExportAttestation bundle, string name)
    {
        using var document = Parse(json, name);
        var type = "";
        var subjects = new List<ExportSubject>();
        byte[] predicate = [.. "null"u8];
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.NameEquals("predicateType"))
                type = property.Value.GetString() ?? "";
            else if (property.NameEquals("predicate"))
                predicate = SortedJson.Write(property.Value);
            else if (property.NameEquals("subject") && property.Value.ValueKind == JsonValueKind.Array)
                subjects.AddRange(property.Value.EnumerateArray().Select(ReadSubject));
        }
        if (bundle.PredicateType.Length > 0 && type != bundle.PredicateType)
            throw new InvalidOperationException($"bundle entry {type} does not match required predicate type {bundle.PredicateType}");
        if (type.StartsWith(ProvenancePrefix, StringComparison.Ordinal))
            throw new InvalidOperationException("frontend may not bundle provenance attestations");
        var source = bundle with { IsBundle = false, Path = JoinPath(bundle.Path, name), PredicateType = type, Subjects = subjects };
        return new ReadAttestation(source, predicate);
    }

    private static JsonDocument Parse(byte[] json, string name)
    {
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 1000 });
            var document = JsonDocument.ParseValue(ref reader);
            if (json.AsSpan((int)reader.BytesConsumed).ContainsAnyExcept(" \t\r\n"u8))
            {
                document.Dispose();
                throw new InvalidOperationException("in-toto statement is not a single JSON object");
            }
            if (document.RootElement.ValueKind == JsonValueKind.Object)
                return document;
            document.Dispose();
        }
        catch (JsonException e)
        {
            throw new InvalidOperationException($"cannot decode in-toto statement {name}: {e.Message}", e);
        }
        throw new InvalidOperationException($"cannot decode in-toto statement {name}: not a JSON object");
    }

    private static ExportSubject ReadSubject(JsonElement subject)
    {
        var name = subject.TryGetProperty("name", out var text) ? text.GetString() ?? "" : "";
        var digests = subject.TryGetProperty("digest", out var map) && map.ValueKind == JsonValueKind.Object
            ? map.EnumerateObject().Select(entry => $"{entry.Name}:{entry.Value.GetString()}").ToList()
            : [];
        return new ExportSubject(IsSelf: false, name, digests);
    }

    // Clean and, as the tree's own paths, from its root.
    private static string JoinPath(string directory, string name) => Linux.Patterns.UnixPath.Clean($"{directory}/{name}");

    private static async Task<byte[]> ReadAsync(string root, string path, CancellationToken cancellationToken)
    {
        using var directory = LinuxFile.OpenDirectory(root);
        var errno = RootedPath.TryOpen(directory, path, OpenFlags.ReadOnly, out var handle);
        if (errno != Errno.None)
            throw new LinuxException(errno, "cannot read in-toto attestation", path);
        await using var file = new FileStream(handle!, FileAccess.Read, bufferSize: 0);
        if (file.Length > LargestFile)
            throw new InvalidOperationException($"attestation {path} has {file.Length} bytes, more than {LargestFile}");
        var bytes = new byte[file.Length];
        await file.ReadExactlyAsync(bytes, cancellationToken);
        return bytes;
    }

    private static async Task<Mounted> MountAsync(IImmutableRef reference, string temporaryDirectory, CancellationToken cancellationToken)
    {
        var mountable = await reference.MountAsync(readOnly: true, cancellationToken);
        var lease = await mountable.AcquireAsync(cancellationToken);
        try
        {
            Directory.CreateDirectory(temporaryDirectory);
            return new Mounted(lease, MountedTree.Open(lease.Mounts, readOnly: true, temporaryDirectory));
        }
        catch
        {
            await lease.DisposeAsync();
            throw;
        }
    }

    private sealed class Mounted(MountLease lease, MountedTree tree) : IAsyncDisposable
    {
        public string Root => tree.Root;

        public async ValueTask DisposeAsync()
        {
            await tree.DisposeAsync();
            await lease.DisposeAsync();
        }
    }
}

/// <summary>JSON as it comes out of a generic map: keys sorted, numbers as floating point.</summary>
internal static class SortedJson
{
    /// <summary>Writes a value, compact.</summary>
    public static byte[] Write(JsonElement value)
    {
        var writer = new CanonicalJsonWriter();
        Write(writer, value);
        return writer.ToArray();
    }

    private static void Write(CanonicalJsonWriter writer, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteStartObject();
                var members = new SortedDictionary<string, JsonElement>(ByteOrder.Instance);
                foreach (var property in value.EnumerateObject())
                    members[property.Name] = property.Value;
                foreach (var (name, member) in members)
                {
                    writer.WriteName(name);
                    Write(writer, member);
                }
                writer.WriteEndObject();
                break;
            case JsonValueKind.Array:
                writer.WriteStartArray();
                foreach (var item in value.EnumerateArray())
                    Write(writer, item);
                writer.WriteEndArray();
                break;
            case JsonValueKind.String:
                writer.WriteString(value.GetString()!);
                break;
            case JsonValueKind.Number:
                writer.WriteNumber(value.GetDouble());
                break;
            case JsonValueKind.True or JsonValueKind.False:
                writer.WriteBoolean(value.GetBoolean());
                break;
            default:
                writer.WriteNull();
                break;
        }
    }
}
