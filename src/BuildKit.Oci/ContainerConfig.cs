using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>How containers of an image run: the <c>config</c> section with Docker's extensions (spec 05 §7.1).</summary>
public sealed record ContainerConfig
{
    /// <summary>User, as written.</summary>
    public string User { get; init; } = "";
    /// <summary>Ports, <c>8080/tcp</c>.</summary>
    public IReadOnlyCollection<string> ExposedPorts { get; init; } = [];
    /// <summary>Environment, <c>KEY=value</c>, in order.</summary>
    public IReadOnlyList<string> Env { get; init; } = [];
    /// <summary>Entry point.</summary>
    public IReadOnlyList<string> Entrypoint { get; init; } = [];
    /// <summary>Default arguments.</summary>
    public IReadOnlyList<string> Cmd { get; init; } = [];
    /// <summary>Paths of volumes.</summary>
    public IReadOnlyCollection<string> Volumes { get; init; } = [];
    /// <summary>Working directory.</summary>
    public string WorkingDir { get; init; } = "";
    /// <summary>Labels.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);
    /// <summary>Signal that stops a container.</summary>
    public string StopSignal { get; init; } = "";
    /// <summary>Whether the arguments are one escaped command line (Windows).</summary>
    public bool ArgsEscaped { get; init; }
    /// <summary>Health check, if any.</summary>
    public HealthcheckConfig? Healthcheck { get; init; }
    /// <summary>Instructions to run when the image is a base.</summary>
    public IReadOnlyList<string> OnBuild { get; init; } = [];
    /// <summary>Shell of shell-form instructions.</summary>
    public IReadOnlyList<string> Shell { get; init; } = [];

    internal static ContainerConfig Read(JsonProperty section)
    {
        var config = new ContainerConfig();
        foreach (var property in JsonReading.Object(section.Value, section.Name))
        {
            if (property.Is("User"))
                config = config with { User = property.Text() };
            else if (property.Is("ExposedPorts"))
                config = config with { ExposedPorts = property.Map(_ => true).Keys };
            else if (property.Is("Env"))
                config = config with { Env = property.Texts() };
            else if (property.Is("Entrypoint"))
                config = config with { Entrypoint = property.Texts() };
            else if (property.Is("Cmd"))
                config = config with { Cmd = property.Texts() };
            else if (property.Is("Volumes"))
                config = config with { Volumes = property.Map(_ => true).Keys };
            else if (property.Is("WorkingDir"))
                config = config with { WorkingDir = property.Text() };
            else if (property.Is("Labels"))
                config = config with { Labels = property.Map(entry => entry.Text()) };
            else if (property.Is("StopSignal"))
                config = config with { StopSignal = property.Text() };
            else if (property.Is("ArgsEscaped"))
                config = config with { ArgsEscaped = property.Boolean() };
            else if (property.Is("Healthcheck"))
                config = config with { Healthcheck = HealthcheckConfig.Read(property) };
            else if (property.Is("OnBuild"))
                config = config with { OnBuild = property.Texts() };
            else if (property.Is("Shell"))
                config = config with { Shell = property.Texts() };
        }
        return config;
    }

    internal void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteText("User", User);
        WriteSet(writer, "ExposedPorts", ExposedPorts);
        writer.WriteStrings("Env", Env);
        writer.WriteStrings("Entrypoint", Entrypoint);
        writer.WriteStrings("Cmd", Cmd);
        WriteSet(writer, "Volumes", Volumes);
        writer.WriteText("WorkingDir", WorkingDir);
        writer.WriteMap("Labels", Labels);
        writer.WriteText("StopSignal", StopSignal);
        writer.WriteTrue("ArgsEscaped", ArgsEscaped);
        if (Healthcheck is not null)
        {
            writer.WriteName("Healthcheck");
            Healthcheck.WriteTo(writer);
        }
        writer.WriteStrings("OnBuild", OnBuild);
        writer.WriteStrings("Shell", Shell);
        writer.WriteEndObject();
    }

    private static void WriteSet(CanonicalJsonWriter writer, string name, IReadOnlyCollection<string> keys)
    {
        if (keys.Count == 0)
            return;
        writer.WriteName(name);
        writer.WriteStartObject();
        foreach (var key in keys.Order(ByteOrder.Instance).Distinct(StringComparer.Ordinal))
        {
            writer.WriteName(key);
            writer.WriteStartObject();
            writer.WriteEndObject();
        }
        writer.WriteEndObject();
    }
}

/// <summary>A health check. Durations are in nanoseconds; zero means inherited.</summary>
/// <param name="Test">Command: <c>["NONE"]</c>, <c>["CMD", …]</c> or <c>["CMD-SHELL", text]</c>.</param>
/// <param name="Interval">Time between checks.</param>
/// <param name="Timeout">Time one check may take.</param>
/// <param name="StartPeriod">Time at start in which failures do not count.</param>
/// <param name="StartInterval">Time between checks in the start period.</param>
/// <param name="Retries">Failures in a row that make a container unhealthy.</param>
public sealed record HealthcheckConfig(IReadOnlyList<string> Test, long Interval = 0, long Timeout = 0, long StartPeriod = 0, long StartInterval = 0, long Retries = 0)
{
    internal static HealthcheckConfig? Read(JsonProperty section)
    {
        if (section.Value.ValueKind == JsonValueKind.Null)
            return null;
        var check = new HealthcheckConfig([]);
        foreach (var property in JsonReading.Object(section.Value, section.Name))
        {
            if (property.Is("Test"))
                check = check with { Test = property.Texts() };
            else if (property.Is("Interval"))
                check = check with { Interval = property.Number() };
            else if (property.Is("Timeout"))
                check = check with { Timeout = property.Number() };
            else if (property.Is("StartPeriod"))
                check = check with { StartPeriod = property.Number() };
            else if (property.Is("StartInterval"))
                check = check with { StartInterval = property.Number() };
            else if (property.Is("Retries"))
                check = check with { Retries = property.Number() };
        }
        return check;
    }

    internal void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteStrings("Test", Test);
        writer.WriteNonZero("Interval", Interval);
        writer.WriteNonZero("Timeout", Timeout);
        writer.WriteNonZero("StartPeriod", StartPeriod);
        writer.WriteNonZero("StartInterval", StartInterval);
        writer.WriteNonZero("Retries", Retries);
        writer.WriteEndObject();
    }
}
