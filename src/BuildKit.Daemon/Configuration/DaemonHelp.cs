using System.Text;
using BuildKit.CommandLine;

namespace BuildKit.Daemon.Configuration;

/// <summary>The help of <c>buildkitd</c>.</summary>
public static class DaemonHelp
{
    /// <summary>The whole text.</summary>
    public static string Text()
    {
        var text = new StringBuilder("NAME:\n   buildkitd - build daemon\n\nUSAGE:\n   buildkitd [global options]\n\nCOMMANDS:\n   dockerfile-frontend  be the program of a frontend image, started by a build daemon\n\nGLOBAL OPTIONS:\n");
        var flags = DaemonFlags.All.Where(flag => !flag.Hidden).ToList();
        var names = flags.Select(flag => string.Join(", ", flag.Names.Select(name => (name.Length == 1 ? "-" : "--") + name)) + (flag.Kind == FlagKind.Bool ? "" : " value")).ToList();
        var width = names.Max(name => name.Length);
        for (var i = 0; i < flags.Count; i++)
            text.Append("   ").Append(names[i].PadRight(width)).Append("  ").Append(flags[i].Usage).Append('\n');
        return text.ToString();
    }
}
