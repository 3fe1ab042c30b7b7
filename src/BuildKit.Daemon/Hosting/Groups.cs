using System.Globalization;

namespace BuildKit.Daemon.Hosting;

/// <summary>The host's groups.</summary>
internal static class Groups
{
    /// <summary>Id of a group by name, or null.</summary>
    public static long? Find(string name)
    {
        if (!File.Exists("/etc/group"))
            return null;
        foreach (var line in File.ReadLines("/etc/group"))
        {
            var fields = line.Split(':');
            if (fields.Length > 2 && fields[0] == name && long.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out var gid))
                return gid;
        }
        return null;
    }
}
