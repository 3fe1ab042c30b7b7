namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>The files <c>~/.aws/config</c> and <c>~/.aws/credentials</c>, or those <c>AWS_CONFIG_FILE</c> and
/// <c>AWS_SHARED_CREDENTIALS_FILE</c> name. What the credentials file says of a profile goes before what the config file says.</summary>
internal sealed class AwsProfiles
{
    /// <summary>Name of the profile used when none is asked for.</summary>
    public const string Default = "default";

    private readonly Dictionary<string, Dictionary<string, string>> _profiles = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Dictionary<string, string>> _sessions = new(StringComparer.Ordinal);

    /// <summary>Reads the files that are there.</summary>
    public AwsProfiles(Func<string, string?> environment)
    {
        Home = environment("HOME") ?? "";
        Read(environment("AWS_CONFIG_FILE") is { Length: > 0 } config ? config : Path.Combine(Home, ".aws", "config"), isConfig: true);
        Read(environment("AWS_SHARED_CREDENTIALS_FILE") is { Length: > 0 } credentials ? credentials : Path.Combine(Home, ".aws", "credentials"), isConfig: false);
    }

    /// <summary>The user's directory; empty when unknown.</summary>
    public string Home { get; }

    /// <summary>Settings of a profile by lower-case name, or null.</summary>
    public IReadOnlyDictionary<string, string>? Find(string name) => _profiles.GetValueOrDefault(name);

    /// <summary>Settings of a single sign-on session, or null.</summary>
    public IReadOnlyDictionary<string, string>? FindSession(string name) => _sessions.GetValueOrDefault(name);

    private void Read(string path, bool isConfig)
    {
        if (!File.Exists(path))
            return;
        Dictionary<string, string>? section = null;
        foreach (var raw in File.ReadLines(path))
        {
            var line = raw.TrimEnd();
            if (line.Length == 0 || line.TrimStart()[0] is '#' or ';')
                continue;
            if (line[0] == '[')
            {
                section = Section(line.Trim('[', ']', ' ', '\t').Split((char[]?)null, 2, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries), isConfig);
                continue;
            }
            // Indented lines belong to a setting of a service, which is none of ours.
            var equals = line.IndexOf('=', StringComparison.Ordinal);
            if (section is null || equals < 0 || char.IsWhiteSpace(line[0]))
                continue;
            section[line[..equals].Trim().ToLowerInvariant()] = WithoutComment(line[(equals + 1)..]).Trim();
        }
    }

    /// <summary>A comment begins with a sign after white space.</summary>
    private static string WithoutComment(string value)
    {
        for (var i = 1; i < value.Length; i++)
        {
            if (value[i] is '#' or ';' && value[i - 1] is ' ' or '\t')
                return value[..i];
        }
        return value;
    }

    private Dictionary<string, string>? Section(string[] words, bool isConfig) => words switch
    {
        [var name] when !isConfig || name == Default => Of(_profiles, name),
        ["profile", var name] when isConfig => Of(_profiles, name.Trim('"')),
        ["sso-session", var name] when isConfig => Of(_sessions, name.Trim('"')),
        _ => null,
    };

    private static Dictionary<string, string> Of(Dictionary<string, Dictionary<string, string>> all, string name)
    {
        if (!all.TryGetValue(name, out var settings))
            all[name] = settings = new Dictionary<string, string>(StringComparer.Ordinal);
        return settings;
    }
}
