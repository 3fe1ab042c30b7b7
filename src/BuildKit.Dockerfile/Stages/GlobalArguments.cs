using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Shell;

namespace BuildKit.Dockerfile.Stages;

/// <summary>Platforms of one conversion.</summary>
/// <param name="Target">What the result is for.</param>
/// <param name="Build">What the build runs on.</param>
/// <param name="IsImplicit">Whether nobody asked for the target.</param>
internal sealed record PlatformPlan(Platform Target, Platform Build, bool IsImplicit);

/// <summary>Arguments in front of the first FROM (spec 05 §4.3).</summary>
internal static class GlobalArguments
{
    /// <summary>The automatic arguments; build arguments of the same name win.</summary>
    public static EnvironmentList Automatic(PlatformPlan platforms, IReadOnlyDictionary<string, string> buildArgs, string target)
    {
        var (wanted, build) = (platforms.Target, platforms.Build);
        (string Name, string Value)[] automatic =
        [
            ("BUILDPLATFORM", build.Format()),
            ("BUILDOS", build.Os),
            ("BUILDOSVERSION", build.OsVersion),
            ("BUILDARCH", build.Architecture),
            ("BUILDVARIANT", build.Variant),
            ("TARGETPLATFORM", wanted.FormatAll()),
            ("TARGETOS", wanted.Os),
            ("TARGETOSVERSION", wanted.OsVersion),
            ("TARGETARCH", wanted.Architecture),
            ("TARGETVARIANT", wanted.Variant),
            ("TARGETSTAGE", target.Length == 0 ? "default" : target),
        ];
        var environment = EnvironmentList.Empty;
        foreach (var (name, value) in automatic)
            environment = environment.Set(name, buildArgs.GetValueOrDefault(name, value));
        return environment;
    }

    /// <summary>Evaluates the declared arguments in order.</summary>
    /// <param name="environment">Automatic arguments.</param>
    /// <param name="declared">The ARG instructions.</param>
    /// <param name="buildArgs">Values given from outside.</param>
    /// <param name="options">How defaults are lexed.</param>
    /// <param name="captured">Filled with what was met.</param>
    /// <exception cref="DockerfileException">A default cannot be expanded; positioned.</exception>
    public static EnvironmentList Evaluate(EnvironmentList environment, IReadOnlyList<ArgInstruction> declared, IReadOnlyDictionary<string, string> buildArgs, ShellOptions options, Dictionary<string, OutlineArgument>? captured)
    {
        foreach (var instruction in declared)
        {
            foreach (var argument in instruction.Arguments)
            {
                IReadOnlyList<string> matched = [];
                if (!buildArgs.TryGetValue(argument.Key, out var value) && argument.Value is not null)
                    (value, matched) = Expand(argument.Value, environment, options, instruction.Location);
                if (value is not null)
                    environment = environment.Set(argument.Key, value);
                if (captured is not null)
                    captured[argument.Key] = new OutlineArgument(argument, value ?? "", matched, instruction.Location);
            }
        }
        return environment;
    }

    private static (string Value, IReadOnlyList<string> Matched) Expand(string text, EnvironmentList environment, ShellOptions options, IReadOnlyList<SourceRange> location)
    {
        try
        {
            var expansion = ShellLexer.Expand(text, environment, options);
            return (expansion.Word, expansion.Matched);
        }
        catch (DockerfileException e)
        {
            throw e.At(location);
        }
    }
}
