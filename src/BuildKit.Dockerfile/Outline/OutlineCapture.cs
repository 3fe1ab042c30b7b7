using BuildKit.Dockerfile.Instructions;

namespace BuildKit.Dockerfile.Outline;

/// <summary>A build argument as it was met.</summary>
internal sealed record OutlineArgument(ArgDefinition Definition, string Value, IReadOnlyList<string> DependsOn, IReadOnlyList<SourceRange> Location);

/// <summary>A secret or ssh agent as it was met.</summary>
internal sealed record OutlineMount(bool Required, IReadOnlyList<SourceRange> Location);

/// <summary>What a stage uses of arguments, secrets and ssh agents (spec 05 §10).</summary>
internal sealed class OutlineCapture
{
    private OutlineCapture(OutlineCapture? other)
    {
        Arguments = other is null ? new(StringComparer.Ordinal) : new(other.Arguments, StringComparer.Ordinal);
        Used = other is null ? [] : [.. other.Used];
        Secrets = other is null ? new(StringComparer.Ordinal) : new(other.Secrets, StringComparer.Ordinal);
        Agents = other is null ? new(StringComparer.Ordinal) : new(other.Agents, StringComparer.Ordinal);
    }

    public OutlineCapture()
        : this(null)
    {
    }

    public Dictionary<string, OutlineArgument> Arguments { get; }

    public HashSet<string> Used { get; }

    public Dictionary<string, OutlineMount> Secrets { get; }

    public Dictionary<string, OutlineMount> Agents { get; }

    public OutlineCapture Clone() => new(this);

    /// <summary>Marks what the used arguments were made from as used too.</summary>
    public void MarkDependencies()
    {
        var pending = new Stack<string>(Used);
        while (pending.TryPop(out var name))
        {
            if (!Arguments.TryGetValue(name, out var argument))
                continue;
            foreach (var dependency in argument.DependsOn)
            {
                if (Used.Add(dependency))
                    pending.Push(dependency);
            }
        }
    }
}
