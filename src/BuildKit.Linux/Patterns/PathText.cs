using System.Buffers;
using System.Text;
using System.Text.Unicode;

namespace BuildKit.Linux.Patterns;

/// <summary>
/// File names as .NET strings without loss. A Linux name is bytes; most are UTF-8 and become the same text.
/// A byte that is no part of valid UTF-8 becomes one lone low surrogate, U+DC00 + byte, so that every name
/// survives the way to a string and back (spec 01 §5.5: names are raw bytes).
/// </summary>
public static class PathText
{
    /// <summary>The string of a name.</summary>
    public static string Decode(ReadOnlySpan<byte> bytes)
    {
        if (Utf8.IsValid(bytes))
            return Encoding.UTF8.GetString(bytes);
        var text = new StringBuilder(bytes.Length);
        Span<char> pair = stackalloc char[2];
        while (!bytes.IsEmpty)
        {
            var status = Rune.DecodeFromUtf8(bytes, out var rune, out var consumed);
            if (status == OperationStatus.Done)
            {
                text.Append(pair[..rune.EncodeToUtf16(pair)]);
            }
            else
            {
                for (var i = 0; i < consumed; i++)
                    text.Append((char)(0xDC00 + bytes[i]));
            }
            bytes = bytes[consumed..];
        }
        return text.ToString();
    }

    /// <summary>The bytes of a name.</summary>
    public static byte[] Encode(ReadOnlySpan<char> text)
    {
        var bytes = new byte[GetByteCount(text)];
        Encode(text, bytes);
        return bytes;
    }

    /// <summary>How many bytes <see cref="Encode(ReadOnlySpan{char}, Span{byte})"/> writes.</summary>
    public static int GetByteCount(ReadOnlySpan<char> text)
    {
        if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
            return Encoding.UTF8.GetByteCount(text);
        var count = 0;
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                count += 4;
                i++;
            }
            else
            {
                count += c < 0x80 || IsEscapedByte(c) ? 1 : c < 0x800 ? 2 : 3;
            }
        }
        return count;
    }

    /// <summary>Writes the bytes of a name and returns their number.</summary>
    public static int Encode(ReadOnlySpan<char> text, Span<byte> destination)
    {
        if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
            return Encoding.UTF8.GetBytes(text, destination);
        var at = 0;
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (IsEscapedByte(c))
            {
                destination[at++] = (byte)(c - 0xDC00);
                continue;
            }
            var width = char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]) ? 2 : 1;
            at += Encoding.UTF8.GetBytes(text.Slice(i, width), destination[at..]);
            i += width - 1;
        }
        return at;
    }

    /// <summary>Order of the bytes behind two strings (differs from UTF-16 order above U+D7FF).</summary>
    public static int Compare(ReadOnlySpan<char> a, ReadOnlySpan<char> b)
    {
        var same = a.CommonPrefixLength(b);
        if (same == a.Length || same == b.Length)
            return a.Length - b.Length;
        var (x, y) = (a[same], b[same]);
        if (!char.IsSurrogate(x) && !char.IsSurrogate(y))
            return x - y;
        return Encode(a).AsSpan().SequenceCompareTo(Encode(b));
    }

    /// <summary>
    /// Order of paths in a walk: as <see cref="Compare"/>, but the separator is lower than every other byte,
    /// so a directory is followed at once by what is in it.
    /// </summary>
    public static int CompareWalkOrder(ReadOnlySpan<char> a, ReadOnlySpan<char> b)
    {
        var same = a.CommonPrefixLength(b);
        if (same == a.Length || same == b.Length)
            return a.Length - b.Length;
        if (a[same] == '/')
            return -1;
        return b[same] == '/' ? 1 : Compare(a, b);
    }

    // A low surrogate is an escaped byte only when no high one stands before it; callers step over pairs.
    private static bool IsEscapedByte(char c) => c is >= '\uDC80' and <= '\uDCFF';
}
