using BuildKit.Cli.Commands;
using BuildKit.Cli.Commands.Cache;
using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.Client;
using BuildKit.CommandLine;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Cli;

/// <summary>The program: global flags, choice of the command, the end (spec 08 §1).</summary>
internal static class Buildctl
{
    private const string Program = "buildctl";
    private const string Package = "github.com/moby/buildkit";

    /// <summary>The version we are compatible with.</summary>
    public const string Version = "v0.20.0";

    /// <summary>Runs the program and returns its exit code.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> arguments, CommandContext context, CancellationToken cancellationToken)
    {
        try
        {
            context.Colors = ProgressColors.FromEnvironment(context.Variable, (message, error) => context.Log.Warn(message, error));
            await DispatchAsync(arguments, context, cancellationToken);
            return 0;
        }
        catch (CommandException failure)
        {
            var written = new HashSet<Google.Protobuf.ByteString>();
            for (Exception? cause = failure; cause is not null; cause = cause.InnerException)
            {
                if (cause is RpcException answer)
                    SourceSnippets.Write(answer, context.ErrorOutput, written);
            }
            context.PrintError(failure.ExitCode == 3 ? failure.Message + "\n" : $"error: {failure.Message}\n");
            if (ErrorText.Hint(failure.InnerException, context.Address) is { } hint)
                context.PrintError($"hint: {hint}\n");
            return failure.ExitCode;
        }
    }

    private static IReadOnlyList<Command> Commands() =>
    [
        DiskUsageCommand.Create(), PruneCommand.Create(), HistoryCommands.Prune(), BuildCommand.Create(), CacheCommands.Create(), DebugCommands.Create(), DialStdioCommand.Create(),
    ];

    private static IReadOnlyList<Flag> GlobalFlags(string address) =>
    [
        new("debug", FlagKind.Bool, "enable debug output in logs"),
        new("addr", FlagKind.String, "buildkitd address") { Default = address },
        new("log-format", FlagKind.String, "log formatter: json or text") { Default = "text" },
        new("tlsservername", FlagKind.String, "buildkitd server name for certificate validation"),
        new("tlscacert", FlagKind.String, "CA certificate for validation"),
        new("tlscert", FlagKind.String, "client certificate"),
        new("tlskey", FlagKind.String, "client key"),
        new("tlsdir", FlagKind.String, "directory containing CA certificate, client certificate, and client key"),
        new("timeout", FlagKind.Int, "timeout backend connection after value seconds") { Default = "5" },
        new("wait", FlagKind.Bool, "block RPCs until the connection becomes available"),
        new("version", FlagKind.Bool, "print the version") { Aliases = ["v"], Hidden = true },
        new("profile-cpu", FlagKind.String, "") { Hidden = true },
        new("profile-memory", FlagKind.String, "") { Hidden = true },
        new("profile-memoryrate", FlagKind.Int, "") { Hidden = true },
        new("profile-block", FlagKind.String, "") { Hidden = true },
        new("profile-mutex", FlagKind.String, "") { Hidden = true },
        new("profile-trace", FlagKind.String, "") { Hidden = true },
    ];

    private static async Task DispatchAsync(IReadOnlyList<string> arguments, CommandContext context, CancellationToken cancellationToken)
    {
        var host = context.Variable("BUILDKIT_HOST") ?? "";
        var flags = GlobalFlags(host.Length > 0 ? host : DaemonAddress.Default);
        var commands = Commands();
        FlagValues values;
        try
        {
            values = new FlagSet(flags).Parse(arguments);
        }
        catch (UsageException failure)
        {
            context.Print($"Incorrect Usage. {failure.Message}\n\n{HelpText.OfProgram(Version, commands, flags)}");
            throw new CommandException(failure.Message, failure);
        }
        if (values.Bool("version"))
        {
            context.Print($"{Program} {Package} {Version} \n");
            return;
        }
        if (values.HelpRequested || values.Positional.Count == 0)
        {
            context.Print(HelpText.OfProgram(Version, commands, flags));
            return;
        }
        Configure(context, values, host.Length > 0);
        var rest = values.Positional;
        if (rest[0] is "help" or "h")
        {
            Help(context, commands, flags, rest.Count > 1 ? rest[1] : null);
            return;
        }
        var command = Find(commands, rest[0]);
        var parent = Program;
        rest = [.. rest.Skip(1)];
        if (command.Commands.Count > 0)
        {
            if (rest.Count == 0 || rest[0] is "help" or "h" or "--help" or "-h" or "-help")
            {
                context.Print(HelpText.OfCommand(command, parent));
                return;
            }
            parent = $"{parent} {command.Name}";
            command = Find(command.Commands, rest[0]);
            rest = [.. rest.Skip(1)];
        }
        await RunAsync(command, parent, rest, context, cancellationToken);
    }

    private static async Task RunAsync(Command command, string parent, IReadOnlyList<string> arguments, CommandContext context, CancellationToken cancellationToken)
    {
        FlagValues values;
        try
        {
            values = new FlagSet(command.Flags()).Parse(arguments, interspersed: true);
        }
        catch (UsageException failure)
        {
            context.Print($"Incorrect Usage: {failure.Message}\n\n{HelpText.OfCommand(command, parent)}");
            throw new CommandException(failure.Message, failure);
        }
        if (values.HelpRequested)
            context.Print(HelpText.OfCommand(command, parent));
        else
            await command.RunAsync!(context, values, cancellationToken);
    }

    private static void Configure(CommandContext context, FlagValues values, bool isHostSet)
    {
        switch (values.String("log-format"))
        {
            case "json":
                context.Log.IsJson = true;
                break;
            case "text" or "":
                break;
            case var other:
                throw new CommandException($"unsupported log type \"{other}\"");
        }
        context.Address = values.String("addr");
        context.IsAddressChosen = isHostSet || values.IsSet("addr");
        context.Timeout = TimeSpan.FromSeconds(values.Int("timeout"));
        context.Waits = values.Bool("wait");
        var (ca, certificate, key) = (values.String("tlscacert"), values.String("tlscert"), values.String("tlskey"));
        context.Tls = new TlsOptions { ServerName = values.String("tlsservername"), CaCertificate = ca, Certificate = certificate, Key = key };
        if (values.String("tlsdir") is not { Length: > 0 } directory)
            return;
        if (context.Tls.IsEnabled)
            throw new CommandException("cannot specify tlsdir and tlscacert/tlscert/tlskey at the same time");
        try
        {
            context.Tls = TlsOptions.FromDirectory(directory, context.Tls.ServerName);
        }
        catch (ClientException failure)
        {
            throw new CommandException(failure.Message, failure);
        }
    }

    private static void Help(CommandContext context, IReadOnlyList<Command> commands, IReadOnlyList<Flag> flags, string? name) =>
        context.Print(name is null ? HelpText.OfProgram(Version, commands, flags) : HelpText.OfCommand(Find(commands, name), Program));

    private static Command Find(IReadOnlyList<Command> commands, string name)
    {
        foreach (var command in commands)
        {
            if (command.Name == name || command.Aliases.Contains(name))
                return command;
        }
        throw new CommandException($"No help topic for '{name}'", exitCode: 3);
    }
}
