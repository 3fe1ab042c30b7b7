using System.Collections.Immutable;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>
/// What can be said about one operation besides what it does: where it may run, what people see, whether its
/// cache counts. Only platform and worker filters take part in the operation's digest.
/// </summary>
public sealed record OpConstraints
{
    /// <summary>Nothing said.</summary>
    public static OpConstraints None { get; } = new();

    /// <summary>The key of <see cref="Description"/> that names the step in progress output.</summary>
    public const string CustomNameKey = "llb.customname";

    /// <summary>Platform of the operation, taken as given (not normalised).</summary>
    public Platform? Platform { get; init; }

    /// <summary>Worker filters in containerd's filter syntax; all must match.</summary>
    public ImmutableArray<string> WorkerFilters { get; init; } = [];

    /// <summary>Do not answer this step from cache.</summary>
    public bool IgnoreCache { get; init; }

    /// <summary>Free-form description.</summary>
    public ImmutableSortedDictionary<string, string> Description { get; init; } = ImmutableSortedDictionary.Create<string, string>(ByteOrder.Instance);

    /// <summary>Whether the result may be exported with cache; null leaves it to the exporter.</summary>
    public bool? ExportCache { get; init; }

    /// <summary>Group under which clients fold the step.</summary>
    public ProgressGroup? ProgressGroup { get; init; }

    /// <summary>Capabilities required in addition to those the operation itself needs.</summary>
    public ImmutableSortedSet<string> Capabilities { get; init; } = ImmutableSortedSet.Create<string>(ByteOrder.Instance);

    /// <summary>Where in which source file the operation comes from.</summary>
    public ImmutableArray<SourceLocation> Locations { get; init; } = [];

    /// <summary>Value of <c>local.unique</c> for a local source without session; the marshaller's when null.</summary>
    public string? LocalUniqueId { get; init; }

    /// <summary>The same with a name for progress output.</summary>
    public OpConstraints WithCustomName(string name) => WithDescription(CustomNameKey, name);

    /// <summary>The same with one more entry in the description.</summary>
    public OpConstraints WithDescription(string key, string value) => this with { Description = Description.SetItem(key, value) };

    /// <summary>The same with one more source location.</summary>
    public OpConstraints WithLocation(SourceMap map, params IEnumerable<SourceRange> ranges) =>
        this with { Locations = Locations.Add(new SourceLocation(map, [.. ranges])) };

    internal OpConstraints Require(params ReadOnlySpan<string> capabilities) =>
        this with { Capabilities = Capabilities.Union(capabilities.ToArray()) };

    /// <summary>These constraints over others that hold where these say nothing (spec 02 §11.1).</summary>
    internal OpConstraints Over(OpConstraints under) => this with
    {
        Platform = Platform ?? under.Platform,
        WorkerFilters = under.WorkerFilters.AddRange(WorkerFilters),
        IgnoreCache = IgnoreCache || under.IgnoreCache,
        Description = under.Description.SetItems(Description),
        ExportCache = ExportCache ?? under.ExportCache,
        ProgressGroup = ProgressGroup ?? under.ProgressGroup,
        Capabilities = under.Capabilities.Union(Capabilities),
        LocalUniqueId = LocalUniqueId ?? under.LocalUniqueId,
    };
}

/// <summary>A group of steps in progress output.</summary>
/// <param name="Id">Steps with the same id are one group.</param>
/// <param name="Name">What people see.</param>
/// <param name="Weak">Hide the group while only weak members have started.</param>
public sealed record ProgressGroup(string Id, string Name, bool Weak = false);

/// <summary>What a definition is made for.</summary>
public sealed record MarshalOptions
{
    /// <summary>Platform of operations that name none, taken as given; the normalised platform of this machine
    /// when null.</summary>
    public Platform? Platform { get; init; }

    /// <summary>Value of <c>local.unique</c> for local sources without session; random when null.</summary>
    public string? LocalUniqueId { get; init; }

    /// <summary>What the daemon can do, when known: lets operations use newer features.</summary>
    public CapabilitySet? Capabilities { get; init; }

    /// <summary>Constraints that hold for every operation.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}

/// <summary>A source file that operations come from.</summary>
/// <param name="Filename">Name shown to people.</param>
/// <param name="Language">Language, as syntax highlighters name it, for example <c>Dockerfile</c>.</param>
/// <param name="Content">The file's bytes.</param>
public sealed record SourceMap(string Filename, string Language, ReadOnlyMemory<byte> Content)
{
    /// <summary>The definition that was used to load the file, if it came from a build.</summary>
    public Definition? Definition { get; init; }

    /// <summary>The state that was used to load the file; marshalled together with what refers to the map.</summary>
    public State? State { get; init; }

    internal bool SameAs(SourceMap other)
    {
        if (ReferenceEquals(this, other))
            return true;
        if (Filename != other.Filename || Language != other.Language || !Content.Span.SequenceEqual(other.Content.Span))
            return false;
        if (Definition is not { } mine || other.Definition is not { } theirs)
            return true;
        return mine.Def.Count == theirs.Def.Count && (mine.Def.Count == 0 || mine.Def[^1].Equals(theirs.Def[^1]));
    }
}

/// <summary>A stretch of a source file. Lines count from 1, characters from 0.</summary>
public readonly record struct SourceRange(int StartLine, int StartCharacter, int EndLine, int EndCharacter);

/// <summary>Stretches of one source file.</summary>
public sealed record SourceLocation(SourceMap Map, ImmutableArray<SourceRange> Ranges);
