using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Stages;
using BuildKit.Llb;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>WORKDIR (spec 05 §6.6).</summary>
internal sealed class WorkdirEmitter(ConversionScope scope)
{
    private const int DirectoryMode = 0x1ED; // 0755

    /// <summary>Changes the directory without making it; answers the path.</summary>
    public static string Change(Stage stage, string path)
    {
        // Absolute paths stay as written, even with doubled slashes or dots.
        if (path.Length == 0)
            path = stage.Image.WorkingDir is { Length: > 0 } current ? current : "/";
        else if (!SlashPath.IsAbsolute(path))
            path = SlashPath.Join("/", stage.Image.WorkingDir, path);
        stage.Image.WorkingDir = path;
        stage.State = stage.State.Dir(path);
        return path;
    }

    public void Emit(Stage stage, WorkdirInstruction instruction)
    {
        if (!stage.HasWorkdir && !SlashPath.IsAbsolute(instruction.Path))
        {
            scope.Linter.Report(
                LintRule.WorkdirRelativePath,
                $"Relative workdir {Text.GoQuote.Quote(instruction.Path)} can have unexpected results if the base image changes",
                instruction.Location);
        }
        stage.HasWorkdir = true;
        var path = Change(stage, instruction.Path);
        var makesDirectory = path is not "/";
        if (makesDirectory)
        {
            var environment = stage.Environment;
            var name = DisplayNames.Expand(instruction.Source, environment, scope.Shell);
            var constraints = scope.At(instruction.Location)
                .WithCustomName(DisplayNames.Prefix(stage, name, scope.Options.MultiPlatform, stage.Platform, environment));
            var owner = stage.Image.User.Length > 0 ? Owners.Parse(stage.Image.User) : null;
            stage.State = stage.State.File(
                Files.Mkdir(path, DirectoryMode, new MkdirOptions { MakeParents = true, Owner = owner }),
                constraints with { Platform = stage.Platform });
        }
        stage.Image.AddHistory("WORKDIR " + path, makesDirectory, scope.HistoryTime);
    }
}

/// <summary>Owners as users write them (spec 05 §6.8).</summary>
internal static class Owners
{
    /// <summary>Parses <c>user[:group]</c>; an empty part is id 0.</summary>
    public static FileOwner Parse(string text)
    {
        var parts = text.Split(':', 2);
        return new FileOwner(User(parts[0]), parts.Length == 2 ? User(parts[1]) : null);
    }

    private static FileUser User(string text) => text.Length == 0 ? new FileUser(0) : FileUser.Parse(text);
}
