using System.Buffers;
using System.Text;

namespace BuildKit.Linux;

/// <summary>
/// File names are bytes; ours are strings. Valid UTF-8 decodes as usual, every other byte b becomes the lone
/// surrogate U+DC00+b, and encoding reverses exactly that: each name survives the round trip.
/// </summary>
public static class LinuxText
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Orders names and paths as their bytes order (Go's string order), not as UTF-16.</summary>
    public static IComparer<string> ByteOrder { get; } = Comparer<string>.Create(CompareBytes);

    /// <summary>The text of raw bytes.</summary>
    public static string Decode(ReadOnlySpan<byte> bytes)
    {
        if (Ascii.IsValid(bytes))
            return Encoding.ASCII.GetString(bytes);
        var text = new StringBuilder(bytes.Length);
        Span<char> chars = stackalloc char[2];
        while (!bytes.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(bytes, out var rune, out var consumed) == OperationStatus.Done)
            {
                var written = rune.EncodeToUtf16(chars);
                text.Append(chars[..written]);
                bytes = bytes[consumed..];
            }
            else
            {
                text.Append((char)(0xDC00 + bytes[0]));
                bytes = bytes[1..];
            }
        }
        return text.ToString();
    }

    /// <summary>The raw bytes of a text.</summary>
    public static byte[] Encode(ReadOnlySpan<char> text)
    {
        var buffer = new byte[text.Length * 3];
        return buffer.AsSpan(0, Encode(text, buffer)).ToArray();
    }

    /// <summary>Writes the raw bytes of a text; 3 bytes per char always fit. Returns the number of bytes.</summary>
    public static int Encode(ReadOnlySpan<char> text, Span<byte> destination)
    {
        if (Ascii.IsValid(text))
        {
            Ascii.FromUtf16(text, destination, out var count);
            return count;
        }
        var length = 0;
        while (!text.IsEmpty)
        {
            if (Rune.DecodeFromUtf16(text, out var rune, out var consumed) == OperationStatus.Done)
            {
                length += rune.EncodeToUtf8(destination[length..]);
                text = text[consumed..];
            }
            else
            {
                var c = text[0];
                if (c is >= '\uDC80' and <= '\uDCFF')
                    destination[length++] = (byte)(c - 0xDC00);
                else
                    length += Rune.ReplacementChar.EncodeToUtf8(destination[length..]);
                text = text[1..];
            }
        }
        return length;
    }

    /// <summary>Whether a text is valid Unicode, so that its bytes are valid UTF-8.</summary>
    public static bool IsUnicode(string text)
    {
        try
        {
            _ = Strict.GetByteCount(text);
            return true;
        }
        catch (EncoderFallbackException)
        {
            return false;
        }
    }

    /// <summary>Compares two texts by their bytes.</summary>
    public static int CompareBytes(string? left, string? right)
    {
        left ??= "";
        right ??= "";
        var shared = Math.Min(left.Length, right.Length);
        var at = left.AsSpan(0, shared).CommonPrefixLength(right.AsSpan(0, shared));
        if (at == shared)
            return left.Length - right.Length;
        var (l, r) = (left[at], right[at]);
        if (!char.IsSurrogate(l) && !char.IsSurrogate(r))
            return l - r;
        // Step back to the start of a surrogate pair so that both sides encode whole characters.
        if (at > 0 && char.IsHighSurrogate(left[at - 1]))
            at--;
        return Encode(left.AsSpan(at)).AsSpan().SequenceCompareTo(Encode(right.AsSpan(at)));
    }
}
