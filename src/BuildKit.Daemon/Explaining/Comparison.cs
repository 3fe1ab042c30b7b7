using BuildKit.Protocol.Explain;

namespace BuildKit.Daemon.Explaining;

/// <summary>How two runs of what may be the same step compare. Only what enters keys counts (spec 03 §7, §8).</summary>
internal sealed class Comparison
{
    private Comparison(StoredStep before, StoredStep after)
    {
        (Before, After) = (before, after);
        var (old, now) = (before.Record, after.Record);
        SameOperation = old.Operation == now.Operation && old.Operation.Length > 0;
        if (now.Inputs.Count == 0)
            SameOperation |= old.Keys.Intersect(now.Keys, StringComparer.Ordinal).Any();
        SameCount = old.Inputs.Count == now.Inputs.Count;
        var (different, unknown) = (new List<int>(), new List<int>());
        for (var i = 0; i < Math.Min(old.Inputs.Count, now.Inputs.Count); i++)
        {
            if (AreEqual(old.Inputs[i], now.Inputs[i]))
                continue;
            (IsUnknown(old.Inputs[i]) ? unknown : different).Add(i);
        }
        (DifferentInputs, UnknownInputs) = (different, unknown);
    }

    /// <summary>The earlier run.</summary>
    public StoredStep Before { get; }

    /// <summary>The later run.</summary>
    public StoredStep After { get; }

    public bool SameOperation { get; }

    public bool SameCount { get; }

    /// <summary>Indices of the inputs that both have and that differ.</summary>
    public IReadOnlyList<int> DifferentInputs { get; }

    /// <summary>Indices of inputs of the earlier run of which nothing is known: it was imported, and they were not needed.</summary>
    public IReadOnlyList<int> UnknownInputs { get; }

    /// <summary>Whether the earlier result answers the later run.</summary>
    public bool IsEqual => SameOperation && SameCount && DifferentInputs.Count == 0 && UnknownInputs.Count == 0;

    public static Comparison Of(StoredStep before, StoredStep after) => new(before, after);

    /// <summary>The earlier run that is nearest to one: an equal one, then one for the same directories of the
    /// client, then one with most equal parts (operation, inputs, name, place), then with the same operation, then one
    /// that has a result, then the last.</summary>
    public static Comparison? Nearest(IEnumerable<StoredStep> candidates, StoredStep after) => candidates
        .Where(before => before.Record.Kind == after.Record.Kind && !before.Record.Unreadable)
        .Select(before => Of(before, after))
        .Where(comparison => comparison.IsPlausible)
        .OrderByDescending(comparison => comparison.IsEqual)
        .ThenBy(comparison => comparison.IsElsewhere)
        .ThenByDescending(comparison => comparison.EqualParts)
        .ThenByDescending(comparison => comparison.SameOperation)
        .ThenByDescending(comparison => comparison.Before.Record.Error.Length == 0)
        .ThenByDescending(comparison => comparison.Before.Sequence)
        .FirstOrDefault();

    /// <summary>Whether the two were built from different directories of clients.</summary>
    private bool IsElsewhere => Before.Record.Scope.Length > 0 && After.Record.Scope.Length > 0 && Before.Record.Scope != After.Record.Scope;

    /// <summary>Steps of other directories with another operation and another name are other steps.</summary>
    private bool IsPlausible => !IsElsewhere || SameOperation || Before.Record.Name == After.Record.Name;

    private int EqualParts
    {
        get
        {
            var parts = SameOperation ? 1 : 0;
            parts += Math.Min(Before.Record.Inputs.Count, After.Record.Inputs.Count) - DifferentInputs.Count - UnknownInputs.Count;
            parts += Before.Record.Name == After.Record.Name ? 1 : 0;
            parts += Before.Record.Position == After.Record.Position ? 1 : 0;
            return parts;
        }
    }

    private static bool IsUnknown(StepInput input) => input.Content.Length == 0 && input.Result.Length == 0 && input.Classes.Count == 0;

    private static bool AreEqual(StepInput before, StepInput after)
    {
        if (before.Content.Length > 0 && before.Content == after.Content)
            return true;
        // What made it decides next, and decides alone where content does not count.
        return before.Selector == after.Selector
            && (before.Classes.Intersect(after.Classes, StringComparer.Ordinal).Any()
                || (before.Result == after.Result && (before.Result.Length > 0 || before.Vertex == after.Vertex)));
    }
}
