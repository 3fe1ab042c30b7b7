using System.Text.RegularExpressions;

namespace BuildKit.Oci;

/// <summary>
/// An image name in its full form: <c>domain/path[:tag][@digest]</c> (spec 07 §12.1). Made from what users write by
/// <see cref="Parse"/>: <c>busybox</c> becomes <c>docker.io/library/busybox</c>.
/// </summary>
public sealed partial record ImageReference
{
    private const string DefaultDomain = "docker.io";
    private const string OfficialPrefix = "library/";
    private const string Invalid = "invalid reference format";

    // Longer than any valid reference; keeps the matcher from long hostile inputs.
    private const int LongestText = 4096;

    private ImageReference(string domain, string path, string tag, Digest digest) =>
        (Domain, Path, Tag, Digest) = (domain, path, tag, digest);

    /// <summary>Registry host, with port if given; <c>docker.io</c> by default.</summary>
    public string Domain { get; }

    /// <summary>Repository within the registry.</summary>
    public string Path { get; }

    /// <summary>Tag; empty when not given.</summary>
    public string Tag { get; private init; }

    /// <summary>Digest; empty when not given.</summary>
    public Digest Digest { get; private init; }

    /// <summary><c>domain/path</c>.</summary>
    public string Name => Domain + "/" + Path;

    /// <summary>What the lower layer asks for: <c>v1</c>, <c>@sha256:…</c> or <c>v1@sha256:…</c>; may be empty.</summary>
    public string Object => Digest.IsEmpty ? Tag : Tag + "@" + Digest;

    /// <summary>The name as users write it: default domain and <c>library/</c> removed.</summary>
    public string FamiliarName
    {
        get
        {
            if (Domain != DefaultDomain)
                return Name;
            return Path.StartsWith(OfficialPrefix, StringComparison.Ordinal) && Path.IndexOf('/', OfficialPrefix.Length) < 0
                ? Path[OfficialPrefix.Length..]
                : Path;
        }
    }

    /// <summary>The whole reference as users write it.</summary>
    public string Familiar => FamiliarName + Suffix;

    /// <summary>Parses and normalises a reference; no default tag is added.</summary>
    /// <exception cref="FormatException">Not a reference; the text is the one other tools print.</exception>
    public static ImageReference Parse(string text)
    {
        if (text.Length > LongestText)
            throw new FormatException(Invalid);
        if (Identifier().IsMatch(text))
            throw new FormatException($"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings");
        var (domain, remote) = SplitDomain(text);
        var colon = remote.IndexOf(':', StringComparison.Ordinal);
        var remoteName = colon < 0 ? remote : remote[..colon];
        if (!string.Equals(remoteName.ToLowerInvariant(), remoteName, StringComparison.Ordinal))
            throw new FormatException($"{Invalid}: repository name ({remoteName}) must be lowercase");
        var full = domain + "/" + remote;
        var match = Grammar().Match(full);
        if (!match.Success)
        {
            throw new FormatException(Grammar().IsMatch(full.ToLowerInvariant())
                ? Invalid + ": repository name must be lowercase"
                : Invalid);
        }
        var path = match.Groups["path"].Value;
        if (path.Length > 255)
            throw new FormatException("repository name must not be more than 255 characters");
        var digest = match.Groups["digest"].Value;
        return new ImageReference(match.Groups["domain"].Value, path, match.Groups["tag"].Value, digest.Length == 0 ? default : ParseDigest(digest));
    }

    /// <summary>Parses a reference and adds the tag <c>latest</c> when there is neither tag nor digest.</summary>
    /// <exception cref="FormatException">Not a reference.</exception>
    public static ImageReference ParseWithDefaultTag(string text) => Parse(text).WithDefaultTag();

    /// <summary>Parses a reference; false when it is not one.</summary>
    public static bool TryParse(string text, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out ImageReference? reference)
    {
        try
        {
            reference = Parse(text);
            return true;
        }
        catch (FormatException)
        {
            reference = null;
            return false;
        }
    }

    /// <summary>This reference, with tag <c>latest</c> when there is neither tag nor digest.</summary>
    public ImageReference WithDefaultTag() => Tag.Length == 0 && Digest.IsEmpty ? this with { Tag = "latest" } : this;

    /// <summary>This reference with another tag, its digest kept.</summary>
    /// <exception cref="FormatException">Not a tag.</exception>
    public ImageReference WithTag(string tag) =>
        TagExpression().IsMatch(tag) ? this with { Tag = tag } : throw new FormatException("invalid tag format");

    /// <summary>This reference with another digest, its tag kept.</summary>
    public ImageReference WithDigest(Digest digest) => this with { Digest = digest };

    /// <summary>The bare name.</summary>
    public ImageReference WithoutObject() => this with { Tag = "", Digest = default };

    /// <summary>The canonical form, all parts written out.</summary>
    public override string ToString() => Name + Suffix;

    private string Suffix => (Tag.Length == 0 ? "" : ":" + Tag) + (Digest.IsEmpty ? "" : "@" + Digest);

    private static (string Domain, string Remote) SplitDomain(string text)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0)
            return (DefaultDomain, OfficialPrefix + text);
        var first = text[..slash];
        var rest = text[(slash + 1)..];
        var (domain, remote) = first switch
        {
            "localhost" => (first, rest),
            "index.docker.io" => (DefaultDomain, rest),
            _ when first.AsSpan().ContainsAny('.', ':') || first.ToLowerInvariant() != first => (first, rest),
            _ => (DefaultDomain, text),
        };
        return domain == DefaultDomain && !remote.Contains('/', StringComparison.Ordinal) ? (domain, OfficialPrefix + remote) : (domain, remote);
    }

    private static Digest ParseDigest(string text)
    {
        if (Digest.TryParse(text, out var digest))
            return digest;
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var length = text[..colon] switch { "sha256" => 64, "sha384" => 96, "sha512" => 128, _ => 0 };
        throw new FormatException(length == 0 ? "unsupported digest algorithm"
            : text.Length - colon - 1 != length ? "invalid checksum digest length"
            : "invalid checksum digest format");
    }

    [GeneratedRegex(@"\A[a-f0-9]{64}\z", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Identifier();

    [GeneratedRegex(@"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex TagExpression();

    [GeneratedRegex(
        @"\A(?<domain>(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?)"
        + @"/(?<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
        + @"(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
        + @"(?:@(?<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}))?\z",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Grammar();
}
