using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Hosting;

/// <summary>Writes log lines as the reference does: <c>time="…" level=info msg="…"</c>, or one JSON object a line.</summary>
internal sealed class DaemonLog(LogLevel minimum, bool json, TextWriter output) : ILoggerProvider, ILogger
{
    private readonly Lock _gate = new();

    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) => this;

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => logLevel >= minimum;

    /// <inheritdoc/>
    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel))
            return;
        var message = formatter(state, exception);
        if (exception is not null && minimum <= LogLevel.Debug)
            message += "\n" + exception;
        var line = json ? Json(logLevel, message) : Text(logLevel, message);
        lock (_gate)
        {
            output.Write(line);
            output.Flush();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private static string Now() => DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture);

    private static string Name(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace",
        LogLevel.Debug => "debug",
        LogLevel.Information => "info",
        LogLevel.Warning => "warning",
        LogLevel.Error => "error",
        _ => "fatal",
    };

    private static string Text(LogLevel level, string message) =>
        $"time=\"{Now()}\" level={Name(level)} msg={Worker.Executor.GoQuote.Quote(message)}\n";

    private static string Json(LogLevel level, string message)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("level", Name(level));
            writer.WriteString("msg", message);
            writer.WriteString("time", Now());
            writer.WriteEndObject();
        }
        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }
}
