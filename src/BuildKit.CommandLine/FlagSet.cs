using System.Globalization;
using BuildKit.Oci;

namespace BuildKit.CommandLine;

/// <summary>
/// Reads flags the way Go programs do: one or two dashes alike, <c>--name=value</c> or <c>--name value</c>, bools
/// take a value only after <c>=</c>, <c>--</c> ends flags (spec 08 §1.1).
/// </summary>
public sealed class FlagSet(IEnumerable<Flag> flags)
{
    private readonly List<Flag> _flags = [.. flags];

    /// <summary>The flags, in help order.</summary>
    public IReadOnlyList<Flag> Flags => _flags;

    /// <summary>
    /// Reads arguments up to the first one that is no flag; with <paramref name="interspersed"/> flags may also
    /// follow positional arguments.
    /// </summary>
    /// <exception cref="UsageException">Unknown flag, missing or malformed value.</exception>
    public FlagValues Parse(IReadOnlyList<string> arguments, bool interspersed = false)
    {
        var values = new FlagValues(_flags);
        var positional = new List<string>();
        var formsUsed = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < arguments.Count; i++)
        {
            var argument = arguments[i];
            if (argument == "--")
            {
                positional.AddRange(arguments.Skip(i + 1));
                break;
            }
            if (argument.Length < 2 || argument[0] != '-')
            {
                if (!interspersed)
                {
                    positional.AddRange(arguments.Skip(i));
                    break;
                }
                positional.Add(argument);
                continue;
            }
            var body = argument[(argument.StartsWith("--", StringComparison.Ordinal) ? 2 : 1)..];
            if (body.Length == 0 || body[0] is '-' or '=')
                throw new UsageException($"bad flag syntax: {argument}");
            var equals = body.IndexOf('=', StringComparison.Ordinal);
            var name = equals < 0 ? body : body[..equals];
            if (name is "help" or "h" && !_flags.Any(flag => flag.Names.Contains(name)))
            {
                values.HelpRequested = true;
                continue;
            }
            var flag = _flags.FirstOrDefault(flag => flag.Names.Contains(name))
                ?? throw new UsageException($"flag provided but not defined: -{name}");
            string? value = equals < 0 ? null : body[(equals + 1)..];
            if (flag.Kind == FlagKind.Bool)
                value ??= "true";
            else if (value is null)
                value = ++i < arguments.Count ? arguments[i] : throw new UsageException($"flag needs an argument: -{name}");
            values.Set(flag, name, value);
            if (flag.Aliases.Count == 0 || formsUsed.TryAdd(flag.Name, name) || formsUsed[flag.Name] == name)
                continue;
            var alias = name == flag.Name ? formsUsed[flag.Name] : name;
            throw new UsageException($"Cannot use two forms of the same flag: {alias} {flag.Name}");
        }
        values.Positional = positional;
        return values;
    }
}

/// <summary>Values read for a <see cref="FlagSet"/>.</summary>
public sealed class FlagValues
{
    private readonly Dictionary<string, Flag> _flags = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<string>> _values = new(StringComparer.Ordinal);

    internal FlagValues(IEnumerable<Flag> flags)
    {
        foreach (var flag in flags)
            _flags.Add(flag.Name, flag);
    }

    /// <summary>Arguments that are no flags.</summary>
    public IReadOnlyList<string> Positional { get; internal set; } = [];

    /// <summary><c>--help</c> or <c>-h</c> was given.</summary>
    public bool HelpRequested { get; internal set; }

    /// <summary>Whether a flag was given.</summary>
    public bool IsSet(string name) => _values.ContainsKey(name);

    /// <summary>Value of a text flag; its environment variable or default when not given.</summary>
    public string String(string name) => _values.TryGetValue(name, out var given) ? given[^1] : Fallback(name);

    /// <summary>Every value of a list flag.</summary>
    public IReadOnlyList<string> List(string name)
    {
        if (_values.TryGetValue(name, out var given))
            return given;
        var fallback = Fallback(name);
        return fallback.Length == 0 ? [] : [fallback];
    }

    /// <summary>Value of a bool flag.</summary>
    public bool Bool(string name) => String(name) is { Length: > 0 } text && (GoSyntax.ParseBool(text) ?? throw new FormatException(GoSyntax.BoolError(text)));

    /// <summary>Value of an integer flag.</summary>
    public long Int(string name) => String(name) is { Length: > 0 } text ? GoInt.Parse(text) : 0;

    /// <summary>Value of a number flag.</summary>
    public double Float(string name) =>
        String(name) is { Length: > 0 } text ? double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture) : 0;

    /// <summary>Value of a duration flag.</summary>
    public TimeSpan Duration(string name) => String(name) is { Length: > 0 } text ? GoDuration.Parse(text) : TimeSpan.Zero;

    internal void Set(Flag flag, string usedName, string value)
    {
        var problem = flag.Kind switch
        {
            FlagKind.Bool => GoSyntax.ParseBool(value) is null ? "parse error" : null,
            FlagKind.Int => GoInt.TryParse(value, out _) ? null : "parse error",
            FlagKind.Float => double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _) ? null : "parse error",
            FlagKind.Duration => GoDuration.TryParse(value, out _) ? null : "parse error",
            _ => null,
        };
        if (problem is not null)
        {
            throw new UsageException(flag.Kind == FlagKind.Bool
                ? $"invalid boolean value \"{value}\" for -{usedName}: {problem}"
                : $"invalid value \"{value}\" for flag -{usedName}: {problem}");
        }
        if (!_values.TryGetValue(flag.Name, out var list))
            _values.Add(flag.Name, list = []);
        if (flag.Kind != FlagKind.StringList)
            list.Clear();
        list.Add(value);
    }

    private string Fallback(string name)
    {
        var flag = _flags[name];
        return flag.EnvironmentVariable.Length > 0 && Environment.GetEnvironmentVariable(flag.EnvironmentVariable) is { Length: > 0 } value
            ? value
            : flag.Default;
    }
}
