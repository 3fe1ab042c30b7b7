using BuildKit.Oci;

namespace BuildKit.Daemon.Attesting;

/// <summary>How provenance is written: the settings of <c>attest:provenance</c> (spec 07 §9.1). Settings that are not
/// known have no effect.</summary>
public sealed record ProvenanceOptions
{
    private const string DefaultFileName = "provenance.json";

    /// <summary>Whether it tells everything: build arguments, the steps, the Dockerfile (<c>mode=max</c>, the default).</summary>
    public bool IsMax { get; private init; } = true;

    /// <summary>Who builds.</summary>
    public string BuilderId { get; private init; } = "";

    /// <summary>Name of the statement's file.</summary>
    public string FileName { get; private init; } = DefaultFileName;

    /// <summary>Whether the user says that the build is reproducible.</summary>
    public bool IsReproducible { get; private init; }

    /// <summary>Whether it goes only into images that carry attestations in themselves.</summary>
    public bool IsInlineOnly { get; private init; }

    /// <summary>Whether it tells what the machine did meanwhile.</summary>
    public bool CapturesUsage { get; private init; }

    /// <summary>Reads the settings.</summary>
    /// <exception cref="FormatException">A mode that is none, or a flag that is no truth value.</exception>
    public static ProvenanceOptions Parse(IReadOnlyDictionary<string, string> settings)
    {
        var reproducible = false;
        if (settings.TryGetValue("reproducible", out var flag))
        {
            reproducible = GoSyntax.ParseBool(flag)
                ?? throw new FormatException($"failed to parse reproducible flag {GoSyntax.Quote(flag)}: strconv.ParseBool: parsing {GoSyntax.Quote(flag)}: invalid syntax");
        }
        return new ProvenanceOptions
        {
            IsMax = settings.GetValueOrDefault("mode", "max") switch
            {
                "min" => false,
                "max" or "full" => true,
                var mode => throw new FormatException($"invalid mode {GoSyntax.Quote(mode)}"),
            },
            BuilderId = settings.GetValueOrDefault("builder-id", ""),
            FileName = settings.GetValueOrDefault("filename", DefaultFileName),
            IsReproducible = reproducible,
            CapturesUsage = WantsUsage(settings),
            IsInlineOnly = GoSyntax.ParseBool(settings.GetValueOrDefault("inline-only", "")) is true,
        };
    }

    /// <summary>Whether the machine has to be watched from the start; the other settings are read when the build is done.</summary>
    public static bool WantsUsage(IReadOnlyDictionary<string, string> settings) => GoSyntax.ParseBool(settings.GetValueOrDefault("capture-usage", "")) is true;
}
