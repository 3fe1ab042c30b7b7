using System.Text.RegularExpressions;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Dockerfile.Lint;
using BuildKit.Dockerfile.Outline;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Stages;
using BuildKit.Dockerfile.Text;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>Instructions that change variables and configuration only (spec 05 §7.2, §7.3).</summary>
internal sealed partial class ConfigEmitter(ConversionScope scope)
{
    [GeneratedRegex("(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex SecretName();

    [GeneratedRegex("(?:_|^)(?:public)(?:_|$)", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex PublicName();

    public void Emit(Stage stage, Instruction instruction)
    {
        switch (instruction)
        {
            case EnvInstruction env:
                Emit(stage, env);
                break;
            case LabelInstruction label:
                Emit(stage, label);
                break;
            case MaintainerInstruction maintainer:
                stage.Image.Author = maintainer.Maintainer;
                Commit(stage, "MAINTAINER " + maintainer.Maintainer);
                break;
            case CmdInstruction cmd:
                Emit(stage, cmd);
                break;
            case EntrypointInstruction entrypoint:
                Emit(stage, entrypoint);
                break;
            case HealthCheckInstruction health:
                Emit(stage, health);
                break;
            case ExposeInstruction expose:
                Emit(stage, expose);
                break;
            case UserInstruction user:
                stage.State = stage.State.User(user.User);
                stage.Image.User = user.User;
                Commit(stage, "USER " + user.User);
                break;
            case VolumeInstruction volume:
                Emit(stage, volume);
                break;
            case StopSignalInstruction stop:
                SignalNames.Check(stop.Signal);
                stage.Image.StopSignal = stop.Signal;
                Commit(stage, "STOPSIGNAL " + stop.Signal);
                break;
            case ShellInstruction shell:
                stage.Image.Shell = shell.Shell;
                Commit(stage, $"SHELL [{string.Join(' ', shell.Shell)}]");
                break;
            case OnBuildInstruction onBuild:
                stage.Image.OnBuild.Add(onBuild.Expression);
                break;
        }
    }

    /// <summary>ARG: the value comes from outside, from the default, or from the global arguments.</summary>
    public void Emit(Stage stage, ArgInstruction instruction, InstructionExpander expander)
    {
        var shown = new List<string>();
        foreach (var argument in instruction.Arguments)
        {
            CheckSecret("ARG", argument.Key, instruction.Location);
            var isInherited = false;
            string? value;
            if (scope.Options.BuildArgs.TryGetValue(argument.Key, out var given))
                value = given;
            else if (argument.Value is not null)
                value = expander.Expand(argument.Value, stage.Environment);
            else
                isInherited = scope.Globals.TryGet(argument.Key, out value);
            var resolved = argument with { Value = value };
            if (value is not null && !StageEmitter.IsOnlyArgument(argument.Key))
                stage.State = stage.State.AddEnv(argument.Key, value);
            if (!isInherited)
                stage.Outline.Arguments[argument.Key] = new OutlineArgument(resolved, value ?? "", [], instruction.Location);
            stage.Outline.Used.Add(argument.Key);
            stage.Arguments.Add(resolved);
            shown.Add(value is null ? argument.Key : $"{argument.Key}={value}");
        }
        Commit(stage, "ARG " + string.Join(' ', shown));
    }

    /// <summary>A command line with the shell in front.</summary>
    public static IReadOnlyList<string> WithShell(StageImage image, IReadOnlyList<string> arguments)
    {
        var shell = image.Shell.Count > 0 ? image.Shell
            : image.Platform.Os is "windows" ? ["cmd", "/S", "/C"]
            : ["/bin/sh", "-c"];
        return [.. shell, string.Join(' ', arguments)];
    }

    private void Emit(Stage stage, EnvInstruction instruction)
    {
        var shown = "ENV";
        foreach (var variable in instruction.Variables)
        {
            CheckLegacy(variable, instruction);
            CheckSecret("ENV", variable.Key, instruction.Location);
            shown += " " + variable;
            stage.State = stage.State.AddEnv(variable.Key, variable.Value);
            stage.Image.SetEnv(variable.Key, variable.Value);
        }
        Commit(stage, shown);
    }

    private void Emit(Stage stage, LabelInstruction instruction)
    {
        var labels = stage.Image.Labels ??= new(StringComparer.Ordinal);
        var shown = "LABEL";
        foreach (var label in instruction.Labels)
        {
            CheckLegacy(label, instruction);
            labels[label.Key] = label.Value;
            shown += " " + label;
        }
        Commit(stage, shown);
    }

    private void Emit(Stage stage, CmdInstruction instruction)
    {
        CheckOnce(stage, "CMD", instruction);
        var arguments = Arguments(stage, instruction, instruction.Command);
        stage.Image.Cmd = arguments;
        stage.Image.ArgsEscaped = true;
        Commit(stage, "CMD " + GoQuote.QuoteList(arguments));
    }

    private void Emit(Stage stage, EntrypointInstruction instruction)
    {
        CheckOnce(stage, "ENTRYPOINT", instruction);
        var arguments = Arguments(stage, instruction, instruction.Command);
        stage.Image.Entrypoint = arguments;
        if (!stage.Once.ContainsKey("CMD"))
            stage.Image.Cmd = [];
        Commit(stage, "ENTRYPOINT " + GoQuote.QuoteList(arguments));
    }

    private IReadOnlyList<string> Arguments(Stage stage, Instruction instruction, CommandLine command)
    {
        if (!command.IsShellForm)
            return command.Arguments;
        if (stage.Image.Shell.Count == 0)
        {
            scope.Linter.Report(
                LintRule.JsonArgsRecommended,
                $"JSON arguments recommended for {instruction.Name} to prevent unintended behavior related to OS signals",
                instruction.Location);
        }
        return WithShell(stage.Image, command.Arguments);
    }

    private void Emit(Stage stage, HealthCheckInstruction instruction)
    {
        CheckOnce(stage, "HEALTHCHECK", instruction);
        var health = instruction.Health;
        stage.Image.Healthcheck = new HealthcheckConfig(health.Test, health.Interval, health.Timeout, health.StartPeriod, health.StartInterval, health.Retries);
        var durations = new[] { health.Interval, health.Timeout, health.StartPeriod, health.StartInterval }.Select(static d => GoQuote.Quote(GoDuration.Format(d)));
        Commit(stage, $"HEALTHCHECK &{{{GoQuote.QuoteList(health.Test)} {string.Join(' ', durations)} {GoQuote.QuoteCharacter(health.Retries)}}}");
    }

    private void Emit(Stage stage, ExposeInstruction instruction)
    {
        var ports = PortSpecs.Parse(instruction.Ports);
        (stage.Image.ExposedPorts ??= new(ByteOrder.Instance)).UnionWith(ports);
        Commit(stage, $"EXPOSE map[{string.Join(' ', ports.Select(static p => p + ":{}"))}]");
    }

    private void Emit(Stage stage, VolumeInstruction instruction)
    {
        if (instruction.Volumes.Any(static v => v.Length == 0))
            throw new DockerfileException("VOLUME specified can not be an empty string");
        (stage.Image.Volumes ??= new(ByteOrder.Instance)).UnionWith(instruction.Volumes);
        Commit(stage, $"VOLUME [{string.Join(' ', instruction.Volumes)}]");
    }

    private void Commit(Stage stage, string createdBy) => stage.Image.AddHistory(createdBy, hasLayer: false, scope.HistoryTime);

    private void CheckOnce(Stage stage, string key, Instruction instruction)
    {
        if (stage.Once.TryGetValue(key, out var earlier))
        {
            scope.Linter.Report(
                LintRule.MultipleInstructionsDisallowed,
                $"Multiple {instruction.Name} instructions should not be used in the same stage because only the last one will be used",
                earlier);
        }
        stage.Once[key] = instruction.Location;
    }

    private void CheckLegacy(KeyValue pair, Instruction instruction)
    {
        if (pair.IsLegacy)
            scope.Linter.Report(LintRule.LegacyKeyValueFormat, $"\"{instruction.Name} key=value\" should be used instead of legacy \"{instruction.Name} key value\" format", instruction.Location);
    }

    private void CheckSecret(string instruction, string key, IReadOnlyList<SourceRange> location)
    {
        if (SecretName().IsMatch(key) && !PublicName().IsMatch(key))
            scope.Linter.Report(LintRule.SecretsUsedInArgOrEnv, $"Do not use ARG or ENV instructions for sensitive data ({instruction} {GoQuote.Quote(key)})", location);
    }
}
