using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;

namespace BuildKit.Oci;

/// <summary>
/// A content digest in its text form <c>algorithm:hex</c>. Hashes are taken over this text, never over the
/// raw bytes (spec 03). The default value is the empty digest.
/// </summary>
public readonly record struct Digest : IComparable<Digest>
{
    private readonly string? _text;

    private Digest(string text) => _text = text;

    /// <summary>Whether this is the empty digest.</summary>
    public bool IsEmpty => string.IsNullOrEmpty(_text);

    /// <summary>The part before the colon, for example <c>sha256</c> or <c>random</c>.</summary>
    public string Algorithm => IsEmpty ? "" : _text![..Math.Max(0, _text!.IndexOf(':', StringComparison.Ordinal))];

    /// <summary>The part after the colon.</summary>
    public string Hex => IsEmpty ? "" : _text![(_text!.IndexOf(':', StringComparison.Ordinal) + 1)..];

    /// <summary>SHA-256 of bytes.</summary>
    public static Digest Sha256(ReadOnlySpan<byte> bytes)
    {
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(bytes, hash);
        return FromSha256(hash);
    }

    /// <summary>SHA-256 of the UTF-8 form of a text.</summary>
    public static Digest Sha256(string text) => Sha256(Encoding.UTF8.GetBytes(text));

    /// <summary>The digest whose 32 raw hash bytes are given.</summary>
    public static Digest FromSha256(ReadOnlySpan<byte> hash) => new("sha256:" + Convert.ToHexStringLower(hash));

    /// <summary>Takes a text that is known to be a digest, or one of the solver's internal forms
    /// (<c>random:…</c>, a bare record id), without checking it.</summary>
    public static Digest Unchecked(string text) => new(text);

    /// <summary>Parses a well-formed <c>sha256:</c>/<c>sha384:</c>/<c>sha512:</c> digest.</summary>
    /// <exception cref="FormatException">The text is no digest; the message quotes it.</exception>
    public static Digest Parse(string text) =>
        TryParse(text, out var digest) ? digest : throw new FormatException($"invalid digest \"{text}\": expected sha256:<64 lower-case hex digits>");

    /// <summary>Parses a well-formed digest; false when it is not one.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out Digest digest)
    {
        digest = default;
        if (text is null)
            return false;
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon <= 0)
            return false;
        var length = text.AsSpan(0, colon) switch
        {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => -1,
        };
        var hex = text.AsSpan(colon + 1);
        if (hex.Length != length || hex.ContainsAnyExcept("0123456789abcdef"))
            return false;
        digest = new Digest(text);
        return true;
    }

    /// <inheritdoc/>
    public int CompareTo(Digest other) => string.CompareOrdinal(_text ?? "", other._text ?? "");

    /// <summary>The text form; empty for the empty digest.</summary>
    public override string ToString() => _text ?? "";
}
