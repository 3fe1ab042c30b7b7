using System.Text;

namespace BuildKit.Registry.Auth;

/// <summary>One way of authorization a server offers in <c>WWW-Authenticate</c> (spec 07 §12.3).</summary>
/// <param name="Scheme">Lower case: <c>bearer</c>, <c>basic</c>, <c>digest</c>.</param>
/// <param name="Parameters">Parameters by lower-case key.</param>
public sealed record Challenge(string Scheme, IReadOnlyDictionary<string, string> Parameters)
{
    /// <summary>Parses the headers of an answer; known schemes only, the preferred first: bearer, digest, basic.</summary>
    public static IReadOnlyList<Challenge> Parse(IEnumerable<string> headers) =>
        [.. headers.Select(ParseOne).OfType<Challenge>().OrderBy(challenge => Rank(challenge.Scheme))];

    /// <summary>A parameter; empty when absent.</summary>
    public string this[string key] => Parameters.GetValueOrDefault(key, "");

    private static int Rank(string scheme) => scheme switch { "bearer" => 0, "digest" => 1, _ => 2 };

    private static Challenge? ParseOne(string header)
    {
        var position = 0;
        var scheme = Token(header, ref position).ToLowerInvariant();
        if (scheme is not ("bearer" or "basic" or "digest"))
            return null;
        var parameters = new Dictionary<string, string>(StringComparer.Ordinal);
        while (position < header.Length)
        {
            SkipBlanks(header, ref position);
            var key = Token(header, ref position).ToLowerInvariant();
            if (key.Length == 0 || position >= header.Length || header[position] != '=')
                break;
            position++;
            var value = position < header.Length && header[position] == '"' ? Quoted(header, ref position) : Token(header, ref position);
            if (value is null)
                break;
            parameters[key] = value;
            SkipBlanks(header, ref position);
            if (position >= header.Length || header[position] != ',')
                break;
            position++;
        }
        return new Challenge(scheme, parameters);
    }

    private static void SkipBlanks(string text, ref int position)
    {
        while (position < text.Length && text[position] is ' ' or '\t')
            position++;
    }

    private static string Token(string text, ref int position)
    {
        SkipBlanks(text, ref position);
        var start = position;
        while (position < text.Length && text[position] is > ' ' and < (char)0x7f && !"()<>@,;:\\\"/[]?={} \t".Contains(text[position], StringComparison.Ordinal))
            position++;
        return text[start..position];
    }

    private static string? Quoted(string text, ref int position)
    {
        var value = new StringBuilder();
        for (position++; position < text.Length; position++)
        {
            if (text[position] == '"')
            {
                position++;
                return value.ToString();
            }
            if (text[position] == '\\' && position + 1 < text.Length)
                position++;
            value.Append(text[position]);
        }
        return null;
    }
}
