using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Lint;

/// <summary>Rules about FROM lines and the file as a whole (spec 05 §11.2).</summary>
internal static class FromRules
{
    /// <summary>Stage names are unique and not reserved.</summary>
    public static void CheckNames(IReadOnlyList<StageDefinition> stages, Linter linter)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var from in stages.Select(static s => s.From).Where(static f => f.StageName.Length > 0))
        {
            if (from.StageName is "context" or "scratch")
                linter.Report(LintRule.ReservedStageName, $"Stage name should not use the same name as reserved stage \"{from.StageName}\"", from.Location);
            if (!seen.Add(from.StageName))
                linter.Report(LintRule.DuplicateStageName, $"Duplicate stage name \"{from.StageName}\", stage names should be unique", from.Location);
        }
    }

    /// <summary>All instructions have the case of most of them; upper case wins a draw.</summary>
    public static void CheckCasing(IReadOnlyList<StageDefinition> stages, Linter linter)
    {
        var all = stages.SelectMany(static s => s.Instructions.Prepend(s.From)).ToList();
        var lower = all.Count(static i => InstructionParser.IsLower(i.Name));
        var upper = all.Count(static i => !InstructionParser.IsLower(i.Name) && InstructionParser.IsUpper(i.Name));
        var wantLower = lower > upper;
        foreach (var instruction in all)
        {
            if (wantLower ? !InstructionParser.IsLower(instruction.Name) : !InstructionParser.IsUpper(instruction.Name))
            {
                linter.Report(
                    LintRule.ConsistentInstructionCasing,
                    $"Command '{instruction.Name}' should match the case of the command majority ({(wantLower ? "lowercase" : "uppercase")})",
                    instruction.Location);
            }
        }
    }

    /// <summary>Base names are references even when no build argument is given.</summary>
    public static void CheckDefaults(DockerfileProgram program, EnvironmentList automatic, ShellOptions options, Linter linter)
    {
        try
        {
            var globals = Stages.GlobalArguments.Evaluate(automatic, program.GlobalArguments, new Dictionary<string, string>(StringComparer.Ordinal), options, null);
            foreach (var from in program.Stages.Select(static s => s.From))
            {
                if (!ImageReference.TryParse(ShellLexer.Expand(from.BaseName, globals, options).Word, out _))
                    linter.Report(LintRule.InvalidDefaultArgInFrom, $"Default value for ARG {from.BaseName} results in empty or invalid base image name", from.Location);
            }
        }
        catch (DockerfileException)
        {
            // What cannot be expanded fails the build itself, with the same message and its place.
            return;
        }
    }

    /// <summary>The platform flag is neither redundant nor fixed.</summary>
    public static void CheckPlatform(FromInstruction from, ShellExpansion expansion, EnvironmentList globals, Linter linter)
    {
        if (expansion is { Matched: ["TARGETPLATFORM"], Unmatched: [] }
            && globals.TryGet("TARGETPLATFORM", out var target) && string.Equals(expansion.Word, target, StringComparison.Ordinal))
        {
            linter.Report(LintRule.RedundantTargetPlatform, $"Setting platform to predefined {from.Platform} in FROM is redundant as this is the default behavior", from.Location);
        }
        if (expansion.Matched.Count + expansion.Unmatched.Count > 0 || !Platform.TryParse(expansion.Word, out var platform))
            return;
        if (!from.StageName.Contains(platform.Os, StringComparison.Ordinal) && !from.StageName.Contains(platform.Architecture, StringComparison.Ordinal))
            linter.Report(LintRule.FromPlatformFlagConstDisallowed, $"FROM --platform flag should not use constant value \"{expansion.Word}\"", from.Location);
    }
}
