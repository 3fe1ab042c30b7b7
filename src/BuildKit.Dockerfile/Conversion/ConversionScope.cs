using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Stages;
using BuildKit.Llb;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>What holds for all stages of one conversion.</summary>
internal sealed class ConversionScope
{
    public required BuildInputs Inputs { get; init; }

    public required DockerfileSource Dockerfile { get; init; }

    public required DockerfileFeatures Features { get; init; }

    public required PlatformPlan Platforms { get; init; }

    public required bool IsTargetExplicit { get; init; }

    public required EnvironmentList Globals { get; init; }

    public required ShellOptions Shell { get; init; }

    public required Linter Linter { get; init; }

    public required StageList Stages { get; init; }

    /// <summary>The build context; evaluated when the paths used of it are known.</summary>
    public required State BuildContext { get; init; }

    /// <summary>Patterns of files left out of the context; null when there are none.</summary>
    public IgnoreMatcher? Ignored { get; set; }

    public FrontendOptions Options => Inputs.Options;

    public CapabilitySet LlbCaps => Inputs.Client.Options.LlbCaps;

    /// <summary>Time of new history entries.</summary>
    public Rfc3339Time? HistoryTime => Options.SourceDateEpoch is { } seconds ? Rfc3339Time.FromUnixSeconds(seconds) : null;

    /// <summary>Constraints with the place of an instruction.</summary>
    public OpConstraints At(IReadOnlyList<SourceRange> location) =>
        OpConstraints.None.WithLocation(Dockerfile.Map, location.Select(static r => new Llb.SourceRange(r.StartLine, r.StartCharacter, r.EndLine, r.EndCharacter)));
}
