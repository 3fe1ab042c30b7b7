using System.Collections;
using System.Diagnostics.CodeAnalysis;

namespace BuildKit.Dockerfile.Shell;

/// <summary>Variables a word is expanded with.</summary>
public interface IShellEnvironment
{
    /// <summary>Value of a variable; false when it is not set.</summary>
    bool TryGet(string name, [NotNullWhen(true)] out string? value);

    /// <summary>Names in order.</summary>
    IEnumerable<string> Names { get; }
}

/// <summary>No variables.</summary>
public sealed class EmptyEnvironment : IShellEnvironment
{
    /// <summary>The one instance.</summary>
    public static EmptyEnvironment Instance { get; } = new();

    /// <inheritdoc/>
    public IEnumerable<string> Names => [];

    /// <inheritdoc/>
    public bool TryGet(string name, [NotNullWhen(true)] out string? value)
    {
        value = null;
        return false;
    }
}

/// <summary>An immutable list of variables in the order of their last assignment (spec 05 §6.1).</summary>
public sealed class EnvironmentList : IShellEnvironment, IEnumerable<KeyValuePair<string, string>>
{
    private readonly KeyValuePair<string, string>[] _entries;

    private EnvironmentList(KeyValuePair<string, string>[] entries) => _entries = entries;

    /// <summary>The empty list.</summary>
    public static EnvironmentList Empty { get; } = new([]);

    /// <inheritdoc/>
    public IEnumerable<string> Names => _entries.Select(static e => e.Key);

    /// <summary>The list with a variable set; an existing one moves to the end.</summary>
    public EnvironmentList Set(string name, string value) =>
        new([.. _entries.Where(e => !string.Equals(e.Key, name, StringComparison.Ordinal)), new(name, value)]);

    /// <inheritdoc/>
    public bool TryGet(string name, [NotNullWhen(true)] out string? value)
    {
        foreach (var entry in _entries)
        {
            if (string.Equals(entry.Key, name, StringComparison.Ordinal))
            {
                value = entry.Value;
                return true;
            }
        }
        value = null;
        return false;
    }

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => ((IEnumerable<KeyValuePair<string, string>>)_entries).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>Variables in front of others, as masks for secrets are.</summary>
internal sealed class OverlayEnvironment(IShellEnvironment overlay, IShellEnvironment below) : IShellEnvironment
{
    public IEnumerable<string> Names => below.Names.Where(n => !overlay.TryGet(n, out _)).Concat(overlay.Names);

    public bool TryGet(string name, [NotNullWhen(true)] out string? value) => overlay.TryGet(name, out value) || below.TryGet(name, out value);
}
