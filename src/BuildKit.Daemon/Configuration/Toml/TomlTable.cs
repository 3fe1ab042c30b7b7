namespace BuildKit.Daemon.Configuration.Toml;

/// <summary>
/// A table: keys in order of appearance with values of type <see cref="string"/>, <see cref="long"/>,
/// <see cref="double"/>, <see cref="bool"/>, <see cref="TomlDateTime"/>, <see cref="TomlTable"/> or
/// <see cref="TomlArray"/>.
/// </summary>
public sealed class TomlTable
{
    private readonly List<string> _order = [];
    private readonly Dictionary<string, object> _values = new(StringComparer.Ordinal);

    /// <summary>How a table came to be decides what may still be added to it.</summary>
    internal TomlOrigin Origin { get; set; } = TomlOrigin.Implicit;

    /// <summary>Keys in order of appearance.</summary>
    public IReadOnlyList<string> Keys => _order;

    /// <summary>The value of a key, or null.</summary>
    public object? this[string key] => _values.GetValueOrDefault(key);

    internal void Add(string key, object value)
    {
        _values.Add(key, value);
        _order.Add(key);
    }
}

/// <summary>An array, static or of tables.</summary>
public sealed class TomlArray
{
    /// <summary>The elements.</summary>
    public IReadOnlyList<object> Items => ItemList;

    internal List<object> ItemList { get; } = [];

    /// <summary>Made by <c>[[name]]</c> headers, and so may grow by further ones.</summary>
    internal bool OfTables { get; init; }
}

/// <summary>A date, time or both, kept as written.</summary>
/// <param name="Text">RFC 3339 text, <c>T</c> between date and time.</param>
/// <param name="Kind">Which parts it has.</param>
public sealed record TomlDateTime(string Text, TomlDateTimeKind Kind);

/// <summary>Parts of a date-time.</summary>
public enum TomlDateTimeKind
{
    OffsetDateTime,
    LocalDateTime,
    LocalDate,
    LocalTime,
}

internal enum TomlOrigin
{
    /// <summary>Named only as the parent of another header: may still get a header of its own.</summary>
    Implicit,

    /// <summary>Made by a dotted key: only dotted keys of the same table may add to it.</summary>
    Dotted,

    /// <summary>Has its header.</summary>
    Header,

    /// <summary>Written inline: closed.</summary>
    Inline,
}
