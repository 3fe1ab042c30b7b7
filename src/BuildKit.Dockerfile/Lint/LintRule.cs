namespace BuildKit.Dockerfile.Lint;

/// <summary>A rule Dockerfiles are checked against (spec 05 §11.2).</summary>
/// <param name="Name">Name users switch it off with.</param>
/// <param name="Description">What it demands.</param>
/// <param name="Url">Where it is explained; empty for rules without a page.</param>
/// <param name="Experimental">Whether it must be switched on by name.</param>
public sealed record LintRule(string Name, string Description, string Url, bool Experimental)
{
    /// <summary>Stage names are lower-case.</summary>
    public static LintRule StageNameCasing { get; } = Documented("StageNameCasing", "Stage names should be lowercase");

    /// <summary><c>FROM</c> and <c>AS</c> have the same case.</summary>
    public static LintRule FromAsCasing { get; } = Documented("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword");

    /// <summary>No blank lines inside an instruction.</summary>
    public static LintRule NoEmptyContinuation { get; } = Documented("NoEmptyContinuation", "Empty continuation lines will become errors in a future release");

    /// <summary>One case for all instructions.</summary>
    public static LintRule ConsistentInstructionCasing { get; } = Documented("ConsistentInstructionCasing", "All commands within the Dockerfile should use the same casing (either upper or lower)");

    /// <summary>Stage names are unique.</summary>
    public static LintRule DuplicateStageName { get; } = Documented("DuplicateStageName", "Stage names should be unique");

    /// <summary>No stage is called like a reserved one.</summary>
    public static LintRule ReservedStageName { get; } = Documented("ReservedStageName", "Reserved words should not be used as stage names");

    /// <summary>Commands are JSON lists.</summary>
    public static LintRule JsonArgsRecommended { get; } = Documented("JSONArgsRecommended", "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals");

    /// <summary><c>MAINTAINER</c> is out of use.</summary>
    public static LintRule MaintainerDeprecated { get; } = Documented("MaintainerDeprecated", "The MAINTAINER instruction is deprecated, use a label instead to define an image author");

    /// <summary>Variables in <c>FROM</c> are declared.</summary>
    public static LintRule UndefinedArgInFrom { get; } = Documented("UndefinedArgInFrom", "FROM command must use declared ARGs");

    /// <summary>The first working directory is absolute.</summary>
    public static LintRule WorkdirRelativePath { get; } = Documented("WorkdirRelativePath", "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes");

    /// <summary>Variables are set before use.</summary>
    public static LintRule UndefinedVar { get; } = Documented("UndefinedVar", "Variables should be defined before their use");

    /// <summary>One <c>CMD</c>, <c>ENTRYPOINT</c>, <c>HEALTHCHECK</c> per stage.</summary>
    public static LintRule MultipleInstructionsDisallowed { get; } = Documented("MultipleInstructionsDisallowed", "Multiple instructions of the same type should not be used in the same stage");

    /// <summary>Variables are set with an equal sign.</summary>
    public static LintRule LegacyKeyValueFormat { get; } = Documented("LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used");

    /// <summary>The base image has the platform of the stage.</summary>
    public static LintRule InvalidBaseImagePlatform { get; } = new("InvalidBaseImagePlatform", "Base image platform does not match expected target platform", "", false);

    /// <summary>The target platform is the default.</summary>
    public static LintRule RedundantTargetPlatform { get; } = Documented("RedundantTargetPlatform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior");

    /// <summary>No secrets in variables.</summary>
    public static LintRule SecretsUsedInArgOrEnv { get; } = Documented("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands");

    /// <summary>Defaults alone make a valid base image name.</summary>
    public static LintRule InvalidDefaultArgInFrom { get; } = Documented("InvalidDefaultArgInFrom", "Default value for global ARG results in an empty or invalid base image name");

    /// <summary>No fixed platform in <c>FROM</c>.</summary>
    public static LintRule FromPlatformFlagConstDisallowed { get; } = Documented("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value");

    /// <summary>Copied files are not ignored.</summary>
    public static LintRule CopyIgnoredFile { get; } = Documented("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore", experimental: true);

    /// <summary>Comments above definitions describe them.</summary>
    public static LintRule InvalidDefinitionDescription { get; } = Documented(
        "InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
        experimental: true);

    private static LintRule Documented(string name, string description, bool experimental = false) =>
        new(name, description, $"https://docs.docker.com/go/dockerfile/rule/{Kebab(name)}/", experimental);

    private static string Kebab(string name)
    {
        var kebab = new System.Text.StringBuilder();
        for (var i = 0; i < name.Length; i++)
        {
            var startsWord = char.IsUpper(name[i]) && i > 0 && (!char.IsUpper(name[i - 1]) || (i + 1 < name.Length && char.IsLower(name[i + 1])));
            if (startsWord)
                kebab.Append('-');
            kebab.Append(char.ToLowerInvariant(name[i]));
        }
        return kebab.ToString();
    }
}
