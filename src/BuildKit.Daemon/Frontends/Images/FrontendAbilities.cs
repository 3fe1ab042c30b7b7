using BuildKit.Dockerfile.Contexts;
using BuildKit.Oci;

namespace BuildKit.Daemon.Frontends.Images;

/// <summary>What a frontend's image says it can do, and what a call needs (spec 01 §6.5 point 6).</summary>
internal static class FrontendAbilities
{
    private const string Label = "moby.buildkit.frontend.caps";
    private const string Inputs = "moby.buildkit.frontend.inputs";
    private const string Option = "frontend.caps";

    /// <summary>Images from before the label existed that take inputs all the same.</summary>
    private static readonly string[] TakeInputs =
    [
        "sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d",
        "sha256:080bd74d8778f83e7b670de193362d8c593c8b14f5c8fb919d28ee8feda0d069",
        "sha256:60543a9d92b92af5088fb2938fb09b2072684af8384399e153e137fe081f8ab4",
        "sha256:de85b2f3a3e8a2f7fe48e8e84a65f6fdd5cd5183afa6412fff9caa6871649c44",
    ];

    /// <summary>Checks a call before the frontend is started.</summary>
    /// <exception cref="UnsupportedFrontendCapException">The image cannot do what the call needs.</exception>
    public static void Check(FrontendImage image, IReadOnlyDictionary<string, string> options, bool hasInputs)
    {
        var offered = Parse(image.Config.Labels.GetValueOrDefault(Label, ""));
        if (!image.Digest.IsEmpty && TakeInputs.Contains(image.Digest.ToString()))
            offered.Add(Inputs);
        var needed = Parse(options.GetValueOrDefault(Option, ""));
        if (hasInputs)
            needed.Add(Inputs);
        if (needed.FirstOrDefault(ability => !offered.Contains(ability)) is { } missing)
            throw new UnsupportedFrontendCapException(missing);
    }

    private static SortedSet<string> Parse(string list) =>
        new(list.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(item => item.Split('+')[0]), StringComparer.Ordinal);
}
