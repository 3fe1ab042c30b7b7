using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Instructions;

/// <summary>The flags an instruction knows and their values (spec 05 §2.6).</summary>
internal sealed class FlagSet
{
    private enum Kind { Text, List, Bool }

    private readonly Dictionary<string, Kind> _known = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<string>> _values = new(StringComparer.Ordinal);

    public FlagSet Text(params ReadOnlySpan<string> names) => Add(Kind.Text, names);

    public FlagSet List(params ReadOnlySpan<string> names) => Add(Kind.List, names);

    public FlagSet Bool(params ReadOnlySpan<string> names) => Add(Kind.Bool, names);

    /// <summary>Reads the flags as written.</summary>
    /// <exception cref="DockerfileException">One is unknown, repeated, or has a wrong value.</exception>
    public FlagSet Read(IReadOnlyList<string> flags)
    {
        foreach (var flag in flags)
        {
            if (flag is "--")
                break;
            if (!flag.StartsWith("--", StringComparison.Ordinal))
                throw new DockerfileException($"arg should start with -- : {flag}");
            var equal = flag.IndexOf('=', StringComparison.Ordinal);
            var written = equal < 0 ? flag : flag[..equal];
            ReadOne(written, written[2..], equal < 0 ? null : flag[(equal + 1)..]);
        }
        return this;
    }

    public string Get(string name, string fallback = "") => _values.TryGetValue(name, out var values) ? values[0] : fallback;

    public IReadOnlyList<string> All(string name) => _values.TryGetValue(name, out var values) ? values : [];

    public bool IsSet(string name) => Get(name) is "true";

    private void ReadOne(string written, string name, string? value)
    {
        if (!_known.TryGetValue(name, out var kind))
            throw Suggestion.Error($"unknown flag: {written}", name, _known.Keys);
        if (!_values.TryGetValue(name, out var values))
            _values.Add(name, values = []);
        else if (kind != Kind.List)
            throw new DockerfileException($"duplicate flag specified: {written}");
        if (kind == Kind.Bool ? value is "" : value is null)
            throw new DockerfileException($"missing a value on flag: {written}");
        values.Add(kind != Kind.Bool ? value! : value?.ToLowerInvariant() switch
        {
            null or "true" => "true",
            "false" => "false",
            _ => throw new DockerfileException($"expecting boolean value for flag {written}, not: {value}"),
        });
    }

    private FlagSet Add(Kind kind, ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            _known.Add(name, kind);
        return this;
    }
}
