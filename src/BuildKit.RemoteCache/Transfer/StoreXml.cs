using System.Text;
using System.Xml;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>The small XML documents of object stores.</summary>
internal static class StoreXml
{
    /// <summary>Texts of the elements of a document by their names without prefix, the first of each name. What is no XML has none.</summary>
    public static IReadOnlyDictionary<string, string> Texts(ReadOnlySpan<byte> document)
    {
        var texts = new Dictionary<string, string>(StringComparer.Ordinal);
        using var reader = XmlReader.Create(new MemoryStream(document.ToArray()), new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null });
        try
        {
            var open = "";
            while (reader.Read())
            {
                if (reader.NodeType == XmlNodeType.Element)
                    texts.TryAdd(open = reader.LocalName, "");
                else if (reader.NodeType is XmlNodeType.Text or XmlNodeType.CDATA && texts[open].Length == 0)
                    texts[open] = reader.Value;
            }
        }
        catch (XmlException)
        {
            // Documented: error pages of proxies are HTML or plain text; what was read so far counts.
        }
        return texts;
    }

    /// <summary>Text as element content, in the form Go's encoder gives it.</summary>
    public static string Escape(string text)
    {
        var escaped = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            escaped = c switch
            {
                '"' => escaped.Append("&#34;"),
                '\'' => escaped.Append("&#39;"),
                '&' => escaped.Append("&amp;"),
                '<' => escaped.Append("&lt;"),
                '>' => escaped.Append("&gt;"),
                '\t' => escaped.Append("&#x9;"),
                '\n' => escaped.Append("&#xA;"),
                '\r' => escaped.Append("&#xD;"),
                _ => escaped.Append(c),
            };
        }
        return escaped.ToString();
    }
}
