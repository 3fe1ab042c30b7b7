using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>Values of <c>--chmod</c>: octal or the syntax of chmod(1) (spec 05 §6.7).</summary>
internal static class ChmodText
{
    private const uint Highest = 0xFFF; // 07777

    /// <summary>Sets the mode a text names; the empty text sets none.</summary>
    /// <exception cref="DockerfileException">The text is no mode.</exception>
    public static CopyOptions Apply(CopyOptions options, string text)
    {
        if (text.Length == 0)
            return options;
        if (GoNumber.ParseUInt32(text, 8) is { } bits && bits <= Highest)
            return options with { Mode = (int)bits };
        if (char.IsAsciiDigit(text[0]))
            throw new DockerfileException($"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
        return text.Split(',').All(IsClause) ? options with { ModeText = text } : throw new DockerfileException("invalid syntax");
    }

    /// <summary>Who, then one or more operations with their permissions.</summary>
    private static bool IsClause(string clause)
    {
        var rest = clause.AsSpan().TrimStart("augo");
        if (rest.IsEmpty)
            return false;
        while (!rest.IsEmpty)
        {
            if (rest[0] is not ('+' or '-' or '='))
                return false;
            rest = rest[1..].TrimStart("rwxXstugo");
        }
        return true;
    }
}
