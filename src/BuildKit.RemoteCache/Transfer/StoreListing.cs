using System.Globalization;
using System.Xml;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>An object of a listing. Size in bytes.</summary>
public readonly record struct ListedObject(string Key, long Size, DateTimeOffset LastModified);

/// <summary>One page of a listing, as S3 and the blob service write it.</summary>
/// <param name="Objects">Objects of the page.</param>
/// <param name="Next">What asks for the next page; empty on the last.</param>
internal sealed record StoreListing(IReadOnlyList<ListedObject> Objects, string Next)
{
    /// <summary>Reads a page.</summary>
    /// <param name="document">The XML.</param>
    /// <param name="item">Element of one object, for example <c>Contents</c>.</param>
    /// <param name="key">Element of its name.</param>
    /// <param name="size">Element of its size.</param>
    /// <param name="modified">Element of its time.</param>
    /// <param name="next">Element of the next page's name.</param>
    /// <exception cref="TransferException">It is no such document.</exception>
    public static StoreListing Parse(ReadOnlySpan<byte> document, string item, string key, string size, string modified, string next)
    {
        List<ListedObject> objects = [];
        var (current, following, inside) = (default(ListedObject), "", false);
        try
        {
            using var reader = XmlReader.Create(new MemoryStream(document.ToArray()), new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, XmlResolver = null });
            var open = "";
            while (reader.Read())
            {
                switch (reader.NodeType)
                {
                    case XmlNodeType.Element:
                        open = reader.LocalName;
                        if (open == item)
                            (inside, current) = (true, default);
                        break;
                    case XmlNodeType.EndElement when reader.LocalName == item:
                        objects.Add(current);
                        inside = false;
                        break;
                    case XmlNodeType.EndElement:
                        open = "";
                        break;
                    case XmlNodeType.Text or XmlNodeType.CDATA when inside && open == key:
                        current = current with { Key = reader.Value };
                        break;
                    case XmlNodeType.Text when inside && open == size:
                        current = current with { Size = long.Parse(reader.Value, CultureInfo.InvariantCulture) };
                        break;
                    case XmlNodeType.Text when inside && open == modified:
                        current = current with { LastModified = DateTimeOffset.Parse(reader.Value, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal) };
                        break;
                    case XmlNodeType.Text when !inside && open == next:
                        following = reader.Value;
                        break;
                }
            }
        }
        catch (Exception e) when (e is XmlException or FormatException or OverflowException)
        {
            throw new TransferException($"the store's listing cannot be read: {e.Message}", e);
        }
        return new StoreListing(objects, following);
    }
}
