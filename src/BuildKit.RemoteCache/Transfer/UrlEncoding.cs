using System.Globalization;
using System.Text;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>Text inside URLs of stores, where signatures cover every byte.</summary>
internal static class UrlEncoding
{
    /// <summary>Percent-encodes everything but unreserved characters and those given.</summary>
    public static string Encode(string text, string keep)
    {
        var encoded = new StringBuilder();
        foreach (var b in Encoding.UTF8.GetBytes(text))
        {
            var c = (char)b;
            if (char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_' or '~' || keep.Contains(c, StringComparison.Ordinal))
                encoded.Append(c);
            else
                encoded.Append('%').Append(b.ToString("X2", CultureInfo.InvariantCulture));
        }
        return encoded.ToString();
    }
}
