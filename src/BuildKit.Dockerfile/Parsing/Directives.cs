using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>A parser directive such as <c># syntax=…</c>.</summary>
/// <param name="Name">Lower-case name.</param>
/// <param name="Value">Text after the equal sign, trimmed.</param>
/// <param name="Line">Line it stands on; 0 for one found in a JSON document.</param>
public sealed record Directive(string Name, string Value, int Line)
{
    /// <summary>The value up to the first blank.</summary>
    public string Reference => Line == 0 ? Value : Value.Split(' ', 2)[0];
}

/// <summary>Reads directives line by line; the first line that is none ends them for good (spec 05 §2.2).</summary>
internal sealed class DirectiveReader(string prefix = "#", int line = 0)
{
    private readonly HashSet<string> _seen = new(StringComparer.Ordinal);
    private int _line = line;

    /// <summary>Whether directives have ended.</summary>
    public bool Done { get; private set; }

    /// <summary>Takes the next line; null when it is no directive.</summary>
    /// <exception cref="DockerfileException">A directive is repeated.</exception>
    public Directive? Read(string text)
    {
        _line++;
        if (Done)
            return null;
        var directive = DirectiveLine.Match(text, prefix);
        if (directive is not var (name, value))
        {
            Done = true;
            return null;
        }
        if (!_seen.Add(name))
            throw new DockerfileException($"only one {name} parser directive can be used");
        return new Directive(name, value, _line);
    }
}

/// <summary>The form of a directive line.</summary>
internal static partial class DirectiveLine
{
    [GeneratedRegex(@"^[\t\n\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*([^\n]+?)[\t\n\f\r ]*\z", RegexOptions.CultureInvariant)]
    private static partial Regex Form();

    /// <summary>Name and value, or null when the line is no known directive.</summary>
    public static (string Name, string Value)? Match(string text, string prefix)
    {
        if (!text.StartsWith(prefix, StringComparison.Ordinal))
            return null;
        var match = Form().Match(text[prefix.Length..]);
        if (!match.Success)
            return null;
        var name = match.Groups[1].Value.ToLowerInvariant();
        return name is "syntax" or "escape" or "check" ? (name, match.Groups[2].Value) : null;
    }
}

/// <summary>Finds the <c>syntax</c> and <c>check</c> directives in raw bytes, apart from the instruction parser
/// (spec 05 §2.2).</summary>
public static class DirectiveDetector
{
    /// <summary>The directive choosing a frontend: <c># syntax=</c>, <c>// syntax=</c>, or a JSON object with
    /// that key.</summary>
    public static Directive? FindSyntax(ReadOnlySpan<byte> dockerfile)
    {
        var (text, line) = Prepare(dockerfile);
        return Find(text, "syntax", "#", line) ?? Find(text, "syntax", "//", line) ?? FindInJson(text, "syntax");
    }

    /// <summary>The <c># check=</c> directive.</summary>
    public static Directive? FindCheck(ReadOnlySpan<byte> dockerfile)
    {
        var (text, line) = Prepare(dockerfile);
        return Find(text, "check", "#", line);
    }

    private static (string Text, int Line) Prepare(ReadOnlySpan<byte> bytes)
    {
        if (bytes.StartsWith("\uFEFF"u8))
            bytes = bytes[3..];
        var text = Encoding.UTF8.GetString(bytes);
        if (!text.StartsWith("#!", StringComparison.Ordinal))
            return (text, 0);
        var end = text.IndexOf('\n', StringComparison.Ordinal);
        return (end < 0 ? "" : text[(end + 1)..], 1);
    }

    private static Directive? Find(string text, string name, string prefix, int line)
    {
        var reader = new DirectiveReader(prefix, line);
        foreach (var physical in text.Split('\n'))
        {
            try
            {
                var directive = reader.Read(physical.EndsWith('\r') ? physical[..^1] : physical);
                if (directive is not null && string.Equals(directive.Name, name, StringComparison.Ordinal))
                    return directive;
            }
            catch (DockerfileException)
            {
                // A repeated directive ends the search here; the instruction parser reports it.
                return null;
            }
            if (reader.Done)
                return null;
        }
        return null;
    }

    private static Directive? FindInJson(string text, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                return null;
            Directive? found = null;
            foreach (var property in document.RootElement.EnumerateObject())
            {
                if (property.Value.ValueKind is not (JsonValueKind.String or JsonValueKind.Null))
                    return null;
                if (property.NameEquals(name))
                    found = new Directive(name, property.Value.GetString() ?? "", 0);
            }
            return found;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
