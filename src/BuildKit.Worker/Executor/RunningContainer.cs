using System.Text.Json;

namespace BuildKit.Worker.Executor;

/// <summary>Running further processes in a container that is up.</summary>
internal static class RunningContainer
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(100);

    /// <summary>Waits until the runtime says the container runs; the id of its first process.</summary>
    /// <param name="runtime">The runtime.</param>
    /// <param name="id">The container.</param>
    /// <param name="ended">Completes when the container's first process has ended: it will not run any more.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="InvalidOperationException">It has stopped.</exception>
    public static async Task<int> WaitUntilRunningAsync(OciRuntime runtime, string id, Task ended, CancellationToken cancellationToken)
    {
        while (true)
        {
            if (ended.IsCompleted)
                throw new InvalidOperationException($"container {id} has stopped");
            var (status, pid) = await runtime.StateAsync(id, cancellationToken) is { } state ? Read(state) : ("", 0);
            switch (status)
            {
                case "running":
                    return pid;
                case "stopped":
                    throw new InvalidOperationException($"container {id} has stopped");
            }
            await Task.Delay(PollInterval, cancellationToken);
        }
    }

    /// <summary>The <c>process</c> of a bundle's configuration with the fields a further process brings replaced.</summary>
    public static byte[] ProcessJson(string configPath, ContainerProcess process, ProcessUser? user)
    {
        using var config = JsonDocument.Parse(File.ReadAllBytes(configPath));
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteBoolean("terminal", process.Tty);
            json.WriteStartArray("args");
            foreach (var argument in process.Args)
                json.WriteStringValue(argument);
            json.WriteEndArray();
            foreach (var property in config.RootElement.GetProperty("process").EnumerateObject())
            {
                switch (property.Name)
                {
                    case "terminal" or "args":
                        break;
                    case "user" when user is not null:
                        WriteUser(json, user);
                        break;
                    case "env" when process.Env.Count > 0:
                        json.WriteStartArray("env");
                        foreach (var entry in StepEnvironment.Merge(process.Env))
                            json.WriteStringValue(entry);
                        json.WriteEndArray();
                        break;
                    case "cwd" when process.Cwd.Length > 0:
                        json.WriteString("cwd", process.Cwd);
                        break;
                    default:
                        property.WriteTo(json);
                        break;
                }
            }
            json.WriteEndObject();
        }
        return buffer.ToArray();
    }

    private static void WriteUser(Utf8JsonWriter json, ProcessUser user)
    {
        json.WriteStartObject("user");
        json.WriteNumber("uid", user.Uid);
        json.WriteNumber("gid", user.Gid);
        json.WriteStartArray("additionalGids");
        foreach (var gid in user.AdditionalGids)
            json.WriteNumberValue(gid);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static (string Status, int Pid) Read(string state)
    {
        using var document = JsonDocument.Parse(state);
        return (
            document.RootElement.TryGetProperty("status", out var status) ? status.GetString() ?? "" : "",
            document.RootElement.TryGetProperty("pid", out var pid) ? pid.GetInt32() : 0);
    }
}
