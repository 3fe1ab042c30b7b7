namespace BuildKit.Daemon.Configuration.Toml;

/// <summary>A TOML text breaks the grammar; the message names line and column (from 1).</summary>
public sealed class TomlException(string message, int line, int column)
    : FormatException($"({line}, {column}): {message}")
{
    /// <summary>Line, from 1.</summary>
    public int Line { get; } = line;

    /// <summary>Column in characters, from 1.</summary>
    public int Column { get; } = column;
}
