using BuildKit.CommandLine;
using BuildKit.Database;

namespace BuildKit.Cli.Commands;

/// <summary>
/// <c>buildctl debug dump-metadata</c> (spec 08 §3.5). The original prints its BoltDB files; this daemon keeps the same facts in SQLite
/// databases, printed in the same form: a heading for each file, a bucket for each table, a line for each row.
/// </summary>
internal static class DumpMetadataCommand
{
    private const string DefaultRoot = "/var/lib/buildkit";

    /// <summary>The command.</summary>
    public static Command Create() => new(
        "dump-metadata", "dump the meta in human-readable format (tables of the daemon's SQLite databases). This command does not require the daemon to be running.")
    {
        Flags = static () => [new("root", FlagKind.String, "path to state directory") { Default = DefaultRoot }],
        RunAsync = static (context, flags, _) =>
        {
            Dump(context, flags.String("root"));
            return Task.CompletedTask;
        },
    };

    private static void Dump(CommandContext context, string root)
    {
        foreach (var path in Databases(root))
        {
            context.Print($"===== {path} =====\n");
            var text = new StringWriter { NewLine = "\n" };
            try
            {
                DatabaseDump.Write(path, text);
            }
            catch (SqliteException failure)
            {
                throw new CommandException(failure.Message, failure);
            }
            context.Print(text.ToString());
        }
    }

    /// <summary>The databases of a daemon: in its root, and one in the folder of each worker. None when there is no such root.</summary>
    private static IEnumerable<string> Databases(string root) => !Directory.Exists(root)
        ? []
        : Directory.GetFiles(root, "*.db").Concat(Directory.GetDirectories(root).SelectMany(static folder => Directory.GetFiles(folder, "*.db"))).Order(StringComparer.Ordinal);
}
