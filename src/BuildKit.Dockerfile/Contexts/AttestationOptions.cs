using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>
/// The attestations a build is asked for (spec 07 §9.1): <c>attest:TYPE=k=v,…</c>, or the build argument
/// <c>BUILDKIT_ATTEST_TYPE</c>. A type that is there is wanted, whatever its value says. The daemon and the frontend read
/// the same options.
/// </summary>
public sealed record AttestationOptions
{
    private const string AttestPrefix = "attest:";
    private const string ArgumentPrefix = "build-arg:BUILDKIT_ATTEST_";

    /// <summary>Settings of the bill of materials; null when none is wanted.</summary>
    public IReadOnlyDictionary<string, string>? Sbom { get; private init; }

    /// <summary>Settings of the provenance; null when none is wanted.</summary>
    public IReadOnlyDictionary<string, string>? Provenance { get; private init; }

    /// <summary>Reads frontend options.</summary>
    /// <exception cref="DockerfileException">An unknown type, or a value that is no record of fields.</exception>
    public static AttestationOptions Parse(IReadOnlyDictionary<string, string> options)
    {
        var result = new AttestationOptions();
        foreach (var (key, value) in options.OrderBy(static option => option.Key, ByteOrder.Instance))
        {
            if (TypeOf(key) is not { } type)
                continue;
            var settings = Settings(type, value);
            result = type switch
            {
                "sbom" => result with { Sbom = settings },
                "provenance" => result with { Provenance = settings },
                _ => throw new DockerfileException($"unknown attestation type {GoQuote.Quote(type)}"),
            };
        }
        return result;
    }

    private static string? TypeOf(string key)
    {
        if (key.StartsWith(AttestPrefix, StringComparison.Ordinal))
            return key[AttestPrefix.Length..].ToLowerInvariant();
        return key.StartsWith(ArgumentPrefix, StringComparison.Ordinal) ? key[ArgumentPrefix.Length..].ToLowerInvariant() : null;
    }

    private static SortedDictionary<string, string> Settings(string type, string value)
    {
        var settings = new SortedDictionary<string, string>(ByteOrder.Instance);
        try
        {
            foreach (var field in CsvRecord.Fields(value))
            {
                var equal = field.IndexOf('=', StringComparison.Ordinal);
                settings[equal < 0 ? field : field[..equal]] = equal < 0 ? "" : field[(equal + 1)..];
            }
        }
        catch (DockerfileException error)
        {
            throw new DockerfileException($"failed to parse {type}: {error.Message}", error);
        }
        return settings;
    }
}

/// <summary>A bill of materials that was asked for.</summary>
/// <param name="Generator">Image that makes it.</param>
/// <param name="Parameters">What the image is told beside.</param>
public sealed record SbomRequest(string Generator, IReadOnlyDictionary<string, string> Parameters)
{
    private const string DefaultGenerator = "docker/buildkit-syft-scanner:stable-1";
    private const string GeneratorKey = "generator";

    /// <summary>The request of <see cref="AttestationOptions.Sbom"/>.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="generatorIs">What messages call the image.</param>
    /// <exception cref="DockerfileException">The image's name is none.</exception>
    public static SbomRequest Of(IReadOnlyDictionary<string, string> settings, string generatorIs)
    {
        var generator = settings.GetValueOrDefault(GeneratorKey, DefaultGenerator);
        if (generator.Length == 0)
            throw new DockerfileException($"sbom {generatorIs} cannot be empty");
        try
        {
            return new SbomRequest(
                ImageReference.ParseWithDefaultTag(generator).ToString(),
                settings.Where(static setting => setting.Key is not GeneratorKey).ToDictionary(StringComparer.Ordinal));
        }
        catch (FormatException error)
        {
            throw new DockerfileException($"failed to parse sbom {generatorIs} {generator}: {error.Message}", error);
        }
    }
}
