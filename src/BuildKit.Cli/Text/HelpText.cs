using System.Text;
using BuildKit.CommandLine;

namespace BuildKit.Cli.Text;

/// <summary>Help texts in the reference's layout.</summary>
internal static class HelpText
{
    private const string HelpFlag = "--help, -h";

    /// <summary>The help of the program.</summary>
    public static string OfProgram(string version, IReadOnlyList<Command> commands, IReadOnlyList<Flag> flags) =>
        "NAME:\n   buildctl - build utility\n\nUSAGE:\n   buildctl [global options] command [command options] [arguments...]\n\n"
        + $"VERSION:\n   {version}\n\nCOMMANDS:\n" + List(commands, ("help, h", "Shows a list of commands or help for one command"))
        + "\nGLOBAL OPTIONS:\n" + Options(flags, (HelpFlag, "show help"), ("--version, -v", "print the version"));

    /// <summary>The help of a command.</summary>
    public static string OfCommand(Command command, string parent)
    {
        var text = new StringBuilder($"NAME:\n   {parent} {command.Name} - {command.Usage}\n\nUSAGE:\n   ");
        var flags = command.Flags();
        if (command.Commands.Count > 0)
        {
            return text.Append($"{parent} {command.Name} command [command options] [arguments...]\n\nCOMMANDS:\n")
                .Append(List(command.Commands))
                .Append("\nOPTIONS:\n").Append(Options([], (HelpFlag, "show help"))).Append("   \n").ToString();
        }
        if (command.UsageText.Length > 0)
            text.Append(command.UsageText);
        else
            text.Append($"{parent} {command.Name}{(flags.Count > 0 ? " [command options]" : "")} {command.ArgumentsText}");
        text.Append('\n');
        if (flags.Count > 0)
            text.Append("\nOPTIONS:\n").Append(Options(flags)).Append("   \n");
        return text.ToString();
    }

    private static string List(IReadOnlyList<Command> commands, params (string Name, string Usage)[] more)
    {
        var rows = new List<(string, string)>();
        foreach (var command in commands)
        {
            if (!command.IsHidden)
                rows.Add((string.Join(", ", [command.Name, .. command.Aliases]), command.Usage));
        }
        rows.AddRange(more);
        return Rows(rows);
    }

    private static string Options(IReadOnlyList<Flag> flags, params (string Name, string Usage)[] more)
    {
        var rows = new List<(string, string)>();
        foreach (var flag in flags)
        {
            if (flag.Hidden)
                continue;
            var names = new List<string>();
            foreach (var name in flag.Names)
                names.Add((name.Length == 1 ? "-" : "--") + name + (flag.Kind == FlagKind.Bool ? "" : " value"));
            var shown = flag.Kind == FlagKind.String ? $"\"{flag.Default}\"" : flag.Default;
            rows.Add((string.Join(", ", names), flag.Default.Length > 0 ? $"{flag.Usage} (default: {shown})" : flag.Usage));
        }
        rows.AddRange(more);
        return Rows(rows);
    }

    private static string Rows(List<(string Name, string Usage)> rows)
    {
        var width = 0;
        foreach (var (name, _) in rows)
            width = Math.Max(width, name.Length);
        var text = new StringBuilder();
        foreach (var (name, usage) in rows)
            text.Append("   ").Append(name.PadRight(width)).Append("  ").Append(usage).Append('\n');
        return text.ToString();
    }
}
