using System.Globalization;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.Executor;

namespace BuildKit.Worker.Sources.Http;

/// <summary>What an http source asks for (spec 02 §4.5, 06 §9.4).</summary>
internal sealed record HttpAttributes(string Url)
{
    private const int DefaultMode = 0x180; // 0600

    /// <summary>Digest the body must have; empty for any.</summary>
    public Digest Checksum { get; init; }

    /// <summary>Name of the file as asked for; empty to take it from the answer.</summary>
    public string Filename { get; init; } = "";

    /// <summary>Permissions as asked for; 0 for the default.</summary>
    public int Perm { get; init; }

    public int Uid { get; init; }

    public int Gid { get; init; }

    /// <summary>Permissions the file gets.</summary>
    public uint Mode => (uint)((Perm != 0 ? Perm : DefaultMode) & 0x1FF);

    /// <summary>Reads a source operation.</summary>
    /// <exception cref="InvalidOperationException">The URL, the name or a number is malformed.</exception>
    public static HttpAttributes Parse(SourceOp operation)
    {
        var result = new HttpAttributes(operation.Identifier);
        foreach (var (key, value) in operation.Attrs)
            result = result.With(key, value);
        // The name is a name: it never leads to another directory.
        if (result.Filename.Length > 0 && !HttpFileName.IsName(result.Filename))
            throw new InvalidOperationException($"invalid filename {GoQuote.Quote(result.Filename)} for {RedactedUrl.Of(result.Url)}");
        return result;
    }

    private HttpAttributes With(string key, string value) => key switch
    {
        "http.checksum" => this with
        {
            Checksum = Digest.TryParse(value, out var digest) ? digest : throw new InvalidOperationException($"invalid checksum digest format: {value}"),
        },
        "http.filename" => this with { Filename = value },
        "http.perm" => this with { Perm = Number(value) },
        "http.uid" => this with { Uid = Number(value) },
        "http.gid" => this with { Gid = Number(value) },
        _ => this,
    };

    /// <summary>A number with its base in front, as in <c>0644</c>, <c>0o644</c>, <c>0x1a4</c>, <c>420</c>.</summary>
    private static int Number(string text)
    {
        var lower = text.ToLowerInvariant();
        try
        {
            return lower switch
            {
                _ when lower.StartsWith("0x", StringComparison.Ordinal) => Convert.ToInt32(lower[2..], 16),
                _ when lower.StartsWith("0b", StringComparison.Ordinal) => Convert.ToInt32(lower[2..], 2),
                _ when lower.StartsWith("0o", StringComparison.Ordinal) => Convert.ToInt32(lower[2..], 8),
                _ when lower.Length > 1 && lower[0] == '0' => Convert.ToInt32(lower[1..], 8),
                _ => int.Parse(lower, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture),
            };
        }
        catch (Exception exception) when (exception is FormatException or OverflowException or ArgumentException)
        {
            throw new InvalidOperationException($"strconv.ParseInt: parsing {GoQuote.Quote(text)}: invalid syntax", exception);
        }
    }
}
