using System.Globalization;
using System.Text;
using BuildKit.Oci;

namespace BuildKit.Cli.Text;

/// <summary>The program's own log on standard error (spec 08 §1.1).</summary>
internal sealed class Log(Stream output, bool isTerminal, TimeProvider time)
{
    private const int MessageWidth = 44;

    /// <summary>Whether lines are JSON objects.</summary>
    public bool IsJson { get; set; }

    /// <summary>Writes a warning.</summary>
    public void Warn(string message, string error = "") => Write("warning", "WARN", 33, message, error);

    /// <summary>Writes a notice.</summary>
    public void Info(string message) => Write("info", "INFO", 36, message, "");

    /// <summary>Writes an error.</summary>
    public void Error(string message) => Write("error", "ERRO", 31, message, "");

    private void Write(string level, string shortLevel, int color, string message, string error)
    {
        var now = time.GetLocalNow();
        var stamp = now.Offset == TimeSpan.Zero
            ? now.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture)
            : now.ToString("yyyy-MM-dd'T'HH:mm:sszzz", CultureInfo.InvariantCulture);
        string line;
        if (IsJson)
        {
            var json = new CanonicalJsonWriter();
            json.WriteStartObject();
            if (error.Length > 0)
            {
                json.WriteName("error");
                json.WriteString(error);
            }
            json.WriteName("level");
            json.WriteString(level);
            json.WriteName("msg");
            json.WriteString(message);
            json.WriteName("time");
            json.WriteString(stamp);
            json.WriteEndObject();
            line = Encoding.UTF8.GetString(json.WrittenSpan);
        }
        else if (isTerminal)
        {
            line = $"\e[{color}m{shortLevel}\e[0m[{stamp}] {message.PadRight(MessageWidth)} ";
            if (error.Length > 0)
                line += $"\e[{color}merror\e[0m={Quoted(error)}";
        }
        else
        {
            line = $"time=\"{stamp}\" level={level} msg={Quoted(message)}";
            if (error.Length > 0)
                line += $" error={Quoted(error)}";
        }
        output.Write(Encoding.UTF8.GetBytes(line + "\n"));
        output.Flush();
    }

    private static string Quoted(string text)
    {
        var isPlain = text.Length > 0;
        foreach (var c in text)
            isPlain &= char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_' or '/' or '@' or '^' or '+';
        return isPlain ? text : "\"" + text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal) + "\"";
    }
}
