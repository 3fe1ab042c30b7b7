using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Instructions;

/// <summary>One <c>RUN --mount</c> (spec 05 §4.2). Empty texts mean "not given".</summary>
public sealed record MountOption
{
    private static readonly string[] Types = ["bind", "cache", "tmpfs", "secret", "ssh"];
    private static readonly string[] SharingModes = ["shared", "private", "locked"];
    private static readonly string[] Keys =
    [
        "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid",
        "src", "dst", "destination", "ro", "rw", "readwrite", "env",
    ];

    /// <summary><c>bind</c>, <c>cache</c>, <c>tmpfs</c>, <c>secret</c> or <c>ssh</c>.</summary>
    public string Type { get; private set; } = "bind";

    /// <summary>Stage, image or named context the content comes from.</summary>
    public string From { get; private set; } = "";

    /// <summary>Path inside it, or id of a secret.</summary>
    public string Source { get; private set; } = "";

    /// <summary>Where it is mounted.</summary>
    public string Target { get; private set; } = "";

    /// <summary>Id of a cache, secret or ssh agent.</summary>
    public string Id { get; private set; } = "";

    /// <summary><c>shared</c>, <c>private</c>, <c>locked</c> or empty.</summary>
    public string Sharing { get; private set; } = "";

    /// <summary>Whether it cannot be written.</summary>
    public bool ReadOnly { get; private set; }

    /// <summary>Whether the build fails when the secret or agent is missing.</summary>
    public bool Required { get; private set; }

    /// <summary>Size limit of a tmpfs in bytes; 0 for none.</summary>
    public long Size { get; private set; }

    /// <summary>Permission bits.</summary>
    public uint? Mode { get; private set; }

    /// <summary>Owning user.</summary>
    public uint? Uid { get; private set; }

    /// <summary>Owning group.</summary>
    public uint? Gid { get; private set; }

    /// <summary>Environment variable that gets a secret's content.</summary>
    public string? Env { get; private set; }

    /// <summary>Whether mode, user or group are given.</summary>
    public bool HasFileInfo => Mode is not null || Uid is not null || Gid is not null;

    /// <summary>Reads a mount.</summary>
    /// <param name="text">The value of the flag.</param>
    /// <param name="expand">Expands variables; null for the first pass, which reads <c>from</c> only.</param>
    /// <exception cref="DockerfileException">The value is malformed.</exception>
    public static MountOption Parse(string text, Func<string, string>? expand)
    {
        IReadOnlyList<string> fields;
        try
        {
            fields = CsvRecord.Fields(text);
        }
        catch (DockerfileException e)
        {
            throw new DockerfileException($"failed to parse csv mounts: {e.Message}", e);
        }
        var mount = new MountOption();
        bool? readOnly = null;
        foreach (var field in fields)
            mount.ReadField(field, expand, ref readOnly);
        mount.ReadOnly = readOnly ?? mount.Type is not ("cache" or "tmpfs");
        mount.Check();
        return mount;
    }

    private void ReadField(string field, Func<string, string>? expand, ref bool? readOnly)
    {
        var equal = field.IndexOf('=', StringComparison.Ordinal);
        var key = (equal < 0 ? field : field[..equal]).ToLowerInvariant();
        if (expand is null)
        {
            if (equal >= 0 && key is "from")
                ReadFromLiteral(field[(equal + 1)..]);
            return;
        }
        if (equal < 0)
        {
            ReadSwitch(field, key, ref readOnly);
            return;
        }
        ReadValue(field, key, expand(field[(equal + 1)..]), ref readOnly);
    }

    private void ReadFromLiteral(string value)
    {
        var dollar = value.IndexOf('$', StringComparison.Ordinal);
        if (dollar >= 0 && dollar != value.Length - 1)
            throw new DockerfileException("'from' doesn't support variable expansion, define alias stage instead");
        From = value;
    }

    private void ReadSwitch(string field, string key, ref bool? readOnly)
    {
        switch (key)
        {
            case "readonly" or "ro":
                readOnly = true;
                break;
            case "readwrite" or "rw":
                readOnly = false;
                break;
            case "required":
                RequireType(key, "secret", "ssh");
                Required = true;
                break;
            default:
                throw new DockerfileException($"invalid field '{field}' must be a key=value pair");
        }
    }

    private void ReadValue(string field, string key, string value, ref bool? readOnly)
    {
        switch (key)
        {
            case "type":
                Type = OneOf(value, Types, "unsupported mount type");
                break;
            case "from":
                From = value;
                break;
            case "source" or "src":
                Source = value;
                break;
            case "target" or "dst" or "destination":
                Target = value;
                break;
            case "readonly" or "ro":
                readOnly = Bool(key, value);
                break;
            case "readwrite" or "rw":
                readOnly = !Bool(key, value);
                break;
            case "required":
                RequireType(key, "secret", "ssh");
                Required = Bool(key, value);
                break;
            case "size":
                RequireType(key, "tmpfs", "tmpfs");
                Size = GoNumber.ParseSize(value) ?? throw Invalid(key, value);
                break;
            case "id":
                Id = value;
                break;
            case "sharing":
                Sharing = OneOf(value, SharingModes, "unsupported sharing value");
                break;
            case "mode":
                Mode = Number(key, value, 8);
                break;
            case "uid":
                Uid = Number(key, value, 10);
                break;
            case "gid":
                Gid = Number(key, value, 10);
                break;
            case "env":
                Env = value;
                break;
            default:
                throw Suggestion.Error($"unexpected key '{key}' in '{field}'", key, Keys);
        }
    }

    private void Check()
    {
        if (Type is "bind" or "tmpfs")
        {
            var wrong = Mode is not null ? "mode" : Uid is not null ? "uid" : Gid is not null ? "gid" : null;
            if (wrong is not null)
                throw new DockerfileException($"{wrong} not allowed for {GoQuote.Quote(Type)} type mounts");
        }
        if (Type is "secret")
        {
            if (From.Length > 0)
                throw new DockerfileException("secret mount should not have a from");
            if (Sharing.Length > 0)
                throw new DockerfileException("secret mount should not define sharing");
            if (Source.Length + Target.Length + Id.Length == 0)
                throw new DockerfileException("invalid secret mount. one of source, target required");
            if (Source.Length > 0 && Id.Length > 0)
                throw new DockerfileException("both source and id can't be set");
        }
        if (Sharing.Length > 0 && Type is not "cache")
            throw new DockerfileException($"invalid cache sharing set for {Type} mount");
    }

    private void RequireType(string key, string one, string other)
    {
        if (!string.Equals(Type, one, StringComparison.Ordinal) && !string.Equals(Type, other, StringComparison.Ordinal))
            throw new DockerfileException($"unexpected key '{key}' for mount type '{Type}'");
    }

    private static string OneOf(string value, string[] allowed, string problem)
    {
        var lower = value.ToLowerInvariant();
        return allowed.Contains(lower, StringComparer.Ordinal)
            ? lower
            : throw Suggestion.Error($"{problem} {GoQuote.Quote(value)}", value, allowed);
    }

    private static bool Bool(string key, string value) => GoNumber.ParseBool(value) ?? throw Invalid(key, value);

    private static uint Number(string key, string value, int @base) =>
        GoNumber.ParseUInt32(value, @base) ?? throw new DockerfileException($"invalid value {value} for {key}");

    private static DockerfileException Invalid(string key, string value) => new($"invalid value for {key}: {value}");
}

/// <summary>One <c>RUN --device</c>.</summary>
/// <param name="Name">Name of the device.</param>
/// <param name="Required">Whether the build fails without it.</param>
public sealed record DeviceOption(string Name, bool Required)
{
    private static readonly string[] Keys = ["name", "required"];

    /// <summary>Reads a device.</summary>
    /// <exception cref="DockerfileException">The value is malformed.</exception>
    public static DeviceOption Parse(string text)
    {
        IReadOnlyList<string> fields;
        try
        {
            fields = CsvRecord.Fields(text);
        }
        catch (DockerfileException e)
        {
            throw new DockerfileException($"failed to parse csv devices: {e.Message}", e);
        }
        var device = new DeviceOption("", false);
        foreach (var field in fields)
            device = device.With(field);
        return device;
    }

    private DeviceOption With(string field)
    {
        var equal = field.IndexOf('=', StringComparison.Ordinal);
        var key = (equal < 0 ? field : field[..equal]).ToLowerInvariant();
        var value = equal < 0 ? null : field[(equal + 1)..];
        switch (key)
        {
            case "required":
                var required = value is null ? true : GoNumber.ParseBool(value);
                return this with { Required = required ?? throw new DockerfileException($"invalid value for {key}: {value}") };
            case "name" when value is not null:
                return Name.Length == 0 ? this with { Name = value } : throw new DockerfileException($"device name already set to {Name}");
            default:
                if (Name.Length == 0)
                    return this with { Name = field };
                if (value is null)
                    throw new DockerfileException($"invalid field '{field}' must be a key=value pair");
                throw Suggestion.Error($"unexpected key '{key}' in '{field}'", key, Keys);
        }
    }
}
