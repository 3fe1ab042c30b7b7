using System.Globalization;
using System.Text;
using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Session.FileSync;

/// <summary>What is asked for, as request metadata of FileSync (spec 01 §5.4): one field per value, escaped where needed.</summary>
public static class FilterHeaders
{
    private const string Name = "dir-name";
    private const string Include = "include-patterns";
    private const string Exclude = "exclude-patterns";
    private const string Follow = "followpaths";
    private const string EncodedSuffix = "-encoded";

    /// <summary>The metadata that asks for a part of a named directory.</summary>
    public static Metadata Write(string directoryName, FilterOptions filter)
    {
        var headers = new Metadata();
        Add(headers, Name, [directoryName]);
        Add(headers, Include, filter.IncludePatterns);
        Add(headers, Exclude, filter.ExcludePatterns);
        Add(headers, Follow, filter.FollowPaths);
        return headers;
    }

    /// <summary>Reads the metadata of a request; the name is empty when it is missing.</summary>
    public static (string DirectoryName, FilterOptions Filter) Read(Metadata headers)
    {
        var names = Get(headers, Name);
        return (names is { Count: > 0 } ? names[0] : "", new FilterOptions(Get(headers, Include), Get(headers, Exclude), Get(headers, Follow)));
    }

    private static void Add(Metadata headers, string key, IReadOnlyList<string>? values)
    {
        if (values is null or { Count: 0 })
            return;
        var escape = values.Any(static value => !Ascii.IsValid(value));
        foreach (var value in values)
            headers.Add(key, escape ? Escape(value) : value);
        if (escape)
            headers.Add(key + EncodedSuffix, "1");
    }

    private static List<string>? Get(Metadata headers, string key)
    {
        var values = headers.GetAll(key);
        if (values.Count == 0)
            return null;
        var isEscaped = headers.Get(key + EncodedSuffix) is "1" or "t" or "T" or "true" or "TRUE" or "True";
        return isEscaped ? [.. values.Select(Unescape)] : [.. values];
    }

    private static string Escape(string value)
    {
        var escaped = new StringBuilder();
        foreach (var b in LinuxText.Encode(value))
        {
            if (char.IsAsciiLetterOrDigit((char)b) || b is (byte)'-' or (byte)'_' or (byte)'.' or (byte)'~')
                escaped.Append((char)b);
            else if (b == ' ')
                escaped.Append('+');
            else
                escaped.Append('%').Append(b.ToString("X2", CultureInfo.InvariantCulture));
        }
        return escaped.ToString();
    }

    private static string Unescape(string value)
    {
        var bytes = new List<byte>(value.Length);
        for (var i = 0; i < value.Length; i++)
        {
            if (value[i] == '%')
            {
                if (i + 2 >= value.Length || !byte.TryParse(value.AsSpan(i + 1, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var b))
                    throw new RpcException(StatusCode.InvalidArgument, $"malformed escape in request metadata: {value}");
                bytes.Add(b);
                i += 2;
            }
            else
            {
                bytes.AddRange(value[i] == '+' ? " "u8 : LinuxText.Encode(value.AsSpan(i, 1)));
            }
        }
        return LinuxText.Decode(bytes.ToArray());
    }
}
