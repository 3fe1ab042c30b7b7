using System.Globalization;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Dockerfile.Stages;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>Names of steps in progress output (spec 05 §6.3).</summary>
internal static class DisplayNames
{
    /// <summary>Key of a step's description that holds the instruction.</summary>
    public const string CommandKey = "com.docker.dockerfile.v1.command";

    /// <summary>Puts platform, stage and number in front; counts the step.</summary>
    public static string Prefix(Stage stage, string text, bool keyed, Platform? platform, IShellEnvironment environment)
    {
        if (stage.CommandTotal == 0)
            return text;
        var prefix = "[";
        if (keyed && platform is not null)
            prefix += platform.FormatAll() + Arrow(platform, WantedPlatform(environment)) + " ";
        if (stage.DisplayName.Length > 0)
            prefix += stage.DisplayName + " ";
        stage.CommandIndex++;
        var total = stage.CommandTotal.ToString(CultureInfo.InvariantCulture);
        var number = stage.CommandIndex.ToString(CultureInfo.InvariantCulture).PadLeft(total.Length);
        return $"{prefix}{number}/{total}] {(stage.InTrigger ? "ONBUILD " : "")}{text}";
    }

    /// <summary>An instruction's text with its variables expanded and its name in upper case; as written when it
    /// cannot be expanded.</summary>
    public static string Expand(string text, IShellEnvironment environment, ShellOptions options)
    {
        try
        {
            text = ShellLexer.Expand(text, environment, options).Word;
        }
        catch (DockerfileException)
        {
            // A name is only shown; the instruction itself decides whether its text is acceptable.
        }
        var blank = text.IndexOf(' ', StringComparison.Ordinal);
        return blank < 0 ? text.ToUpperInvariant() : text[..blank].ToUpperInvariant() + text[blank..];
    }

    /// <summary>First line of an inline document, with dots if there are more.</summary>
    public static string Summary(string document)
    {
        var lines = document.Trim().Replace("\r\n", "\n", StringComparison.Ordinal).Split('\n');
        return lines.Length > 1 ? lines[0] + "..." : lines[0];
    }

    private static Platform? WantedPlatform(IShellEnvironment environment)
    {
        Platform? parts = null;
        foreach (var name in environment.Names)
        {
            if (name is not ("TARGETPLATFORM" or "TARGETOS" or "TARGETARCH" or "TARGETVARIANT") || !environment.TryGet(name, out var value))
                continue;
            if (name is "TARGETPLATFORM")
            {
                if (Platform.TryParse(value, out var whole))
                    return whole;
                continue;
            }
            parts ??= new Platform("", "");
            parts = name switch
            {
                "TARGETOS" => parts with { Os = value },
                "TARGETARCH" => parts with { Architecture = value },
                _ => parts with { Variant = value },
            };
        }
        return parts;
    }

    private static string Arrow(Platform own, Platform? wanted)
    {
        if (wanted is null)
            return "";
        if (wanted.Os.Length == 0)
            wanted = wanted with { Os = own.Os };
        if (wanted.Architecture.Length == 0)
            wanted = wanted with { Architecture = own.Architecture };
        wanted = wanted.Normalize();
        if (!string.Equals(wanted.Os, own.Os, StringComparison.Ordinal))
            return "->" + wanted.FormatAll();
        if (string.Equals(wanted.Architecture, own.Architecture, StringComparison.Ordinal))
            return "";
        return "->" + wanted.Architecture + (wanted.Variant.Length > 0 ? "/" + wanted.Variant : "");
    }
}
