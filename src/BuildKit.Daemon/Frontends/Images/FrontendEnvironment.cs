using System.Globalization;
using System.Text;
using BuildKit.Daemon.Control;
using BuildKit.Daemon.Solving;
using BuildKit.Oci;

namespace BuildKit.Daemon.Frontends.Images;

/// <summary>The environment variables a frontend's process is told everything by (spec 01 §6.5 point 3).</summary>
internal static class FrontendEnvironment
{
    /// <summary>Prefix of the variables that hold one option each, as <c>name=value</c>.</summary>
    public const string OptionPrefix = "BUILDKIT_FRONTEND_OPT_";

    /// <summary>The client's session.</summary>
    public const string SessionId = "BUILDKIT_SESSION_ID";

    /// <summary>The daemon's workers as JSON.</summary>
    public const string Workers = "BUILDKIT_WORKERS";

    /// <summary>What users are told to update when the daemon is too old.</summary>
    public const string Product = "BUILDKIT_EXPORTEDPRODUCT";

    private const string ProductName = "buildkit";

    /// <summary>The image's environment and what the daemon adds.</summary>
    public static IReadOnlyList<string> Of(ContainerConfig image, IReadOnlyDictionary<string, string> options, string sessionId, WorkerDescription worker)
    {
        var entries = new List<string>(image.Env);
        foreach (var (name, value) in options.OrderBy(option => option.Key, StringComparer.Ordinal))
            entries.Add(string.Create(CultureInfo.InvariantCulture, $"{OptionPrefix}{entries.Count - image.Env.Count}={name}={value}"));
        entries.Add($"{SessionId}={sessionId}");
        entries.Add($"{Workers}={WorkersJson(worker)}");
        entries.Add($"{Product}={ProductName}");
        return entries;
    }

    private static string WorkersJson(WorkerDescription worker)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartArray();
        json.WriteStartObject();
        json.WriteName("id");
        json.WriteString(worker.Id);
        json.WriteName("labels");
        json.WriteStartObject();
        foreach (var (key, value) in worker.Labels.OrderBy(label => label.Key, ByteOrder.Instance))
        {
            json.WriteName(key);
            json.WriteString(value);
        }
        json.WriteEndObject();
        json.WriteName("platforms");
        json.WriteStartArray();
        foreach (var platform in worker.Platforms)
            platform.WriteTo(json);
        json.WriteEndArray();
        json.WriteName("gcPolicy");
        json.WriteNull();
        json.WriteName("buildkitVersion");
        json.WriteStartObject();
        json.WriteName("package");
        json.WriteString(WorkerMessages.Package);
        json.WriteName("version");
        json.WriteString(WorkerMessages.Version);
        json.WriteName("revision");
        json.WriteString("");
        json.WriteEndObject();
        json.WriteName("cdiDevices");
        json.WriteNull();
        json.WriteEndObject();
        json.WriteEndArray();
        return Encoding.UTF8.GetString(json.WrittenSpan);
    }
}
