using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>
/// Writes JSON byte for byte as Go's <c>encoding/json</c> does (spec 07 §1, spec 03 §8.1): digests of configs,
/// manifests and cache keys depend on it. The caller decides the order of keys and what to omit.
/// Not safe for concurrent use.
/// </summary>
/// <param name="indented">False for the compact form, true for two-space indentation. There is never a final newline.</param>
public sealed class CanonicalJsonWriter(bool indented = false)
{
    private readonly ArrayBufferWriter<byte> _buffer = new(256);
    private readonly Stack<bool> _hasItems = new();
    private bool _afterName;

    /// <summary>What was written so far; valid until the next write.</summary>
    public ReadOnlySpan<byte> WrittenSpan => _buffer.WrittenSpan;

    /// <summary>A copy of what was written so far.</summary>
    public byte[] ToArray() => _buffer.WrittenSpan.ToArray();

    /// <summary>The compact form of JSON text, escaped as raw values are.</summary>
    /// <exception cref="FormatException">The text is not one JSON value.</exception>
    public static byte[] Compact(ReadOnlySpan<byte> json)
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteRaw(json);
        return writer.ToArray();
    }

    /// <summary>The two-space indented form of JSON text, escaped as raw values are.</summary>
    /// <exception cref="FormatException">The text is not one JSON value.</exception>
    public static byte[] Indent(ReadOnlySpan<byte> json)
    {
        var writer = new CanonicalJsonWriter(indented: true);
        writer.WriteRaw(json);
        return writer.ToArray();
    }

    /// <summary>Begins an object.</summary>
    public void WriteStartObject() => Open((byte)'{');

    /// <summary>Ends an object.</summary>
    public void WriteEndObject() => Close((byte)'}');

    /// <summary>Begins an array.</summary>
    public void WriteStartArray() => Open((byte)'[');

    /// <summary>Ends an array.</summary>
    public void WriteEndArray() => Close((byte)']');

    /// <summary>Writes the key of the next value.</summary>
    public void WriteName(string name)
    {
        Separate();
        Quote(name);
        Put((byte)':');
        if (indented)
            Put((byte)' ');
        _afterName = true;
    }

    /// <summary>Writes a string; unpaired surrogates become <c>\ufffd</c>.</summary>
    public void WriteString(string value)
    {
        Separate();
        Quote(value);
    }

    /// <summary>Writes a string given as UTF-8; every invalid byte becomes <c>\ufffd</c>.</summary>
    public void WriteString(ReadOnlySpan<byte> utf8)
    {
        Separate();
        Put((byte)'"');
        while (!utf8.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(utf8, out var rune, out var length) != OperationStatus.Done)
            {
                // Go replaces one byte at a time, whatever the length of the broken sequence.
                _buffer.Write("\\ufffd"u8);
                length = 1;
            }
            else
                PutEscaped(rune);
            utf8 = utf8[length..];
        }
        Put((byte)'"');
    }

    /// <summary>Writes an integer.</summary>
    public void WriteNumber(long value)
    {
        Separate();
        Utf8Formatter.TryFormat(value, _buffer.GetSpan(20), out var written);
        _buffer.Advance(written);
    }

    /// <summary>Writes an unsigned integer.</summary>
    public void WriteNumber(ulong value)
    {
        Separate();
        Utf8Formatter.TryFormat(value, _buffer.GetSpan(20), out var written);
        _buffer.Advance(written);
    }

    /// <summary>Writes a floating point number in the shortest form that reads back equal; exponents only below
    /// 1e-6 and from 1e21 on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not finite.</exception>
    public void WriteNumber(double value)
    {
        if (!double.IsFinite(value))
            throw new ArgumentOutOfRangeException(nameof(value), value, "JSON has no such number");
        Separate();
        PutAscii(FormatDouble(value));
    }

    /// <summary>Writes <c>true</c> or <c>false</c>.</summary>
    public void WriteBoolean(bool value)
    {
        Separate();
        _buffer.Write(value ? "true"u8 : "false"u8);
    }

    /// <summary>Writes <c>null</c>.</summary>
    public void WriteNull()
    {
        Separate();
        _buffer.Write("null"u8);
    }

    /// <summary>Writes bytes as padded standard base64.</summary>
    public void WriteBase64(ReadOnlySpan<byte> bytes)
    {
        Separate();
        Put((byte)'"');
        PutAscii(Convert.ToBase64String(bytes));
        Put((byte)'"');
    }

    /// <summary>Writes existing JSON: whitespace removed or re-indented, spelling of numbers and escapes and the order
    /// of keys kept, HTML characters escaped.</summary>
    /// <exception cref="FormatException">The bytes are not one JSON value.</exception>
    public void WriteRaw(ReadOnlySpan<byte> json)
    {
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 10000 });
            var written = false;
            while (reader.Read())
            {
                written = true;
                switch (reader.TokenType)
                {
                    case JsonTokenType.StartObject: WriteStartObject(); break;
                    case JsonTokenType.EndObject: WriteEndObject(); break;
                    case JsonTokenType.StartArray: WriteStartArray(); break;
                    case JsonTokenType.EndArray: WriteEndArray(); break;
                    case JsonTokenType.PropertyName:
                        Separate();
                        PutRawString(reader.ValueSpan);
                        Put((byte)':');
                        if (indented)
                            Put((byte)' ');
                        _afterName = true;
                        break;
                    case JsonTokenType.String:
                        Separate();
                        PutRawString(reader.ValueSpan);
                        break;
                    default:
                        Separate();
                        _buffer.Write(reader.ValueSpan);
                        break;
                }
            }
            if (!written)
                throw new FormatException("unexpected end of JSON input");
        }
        catch (JsonException e)
        {
            throw new FormatException("invalid JSON: " + e.Message, e);
        }
    }

    private static string FormatDouble(double value)
    {
        if (value == 0)
            return double.IsNegative(value) ? "-0" : "0";
        var scientific = value.ToString("E16", CultureInfo.InvariantCulture);
        var shortest = value.ToString("R", CultureInfo.InvariantCulture);
        var magnitude = Math.Abs(value);
        if (magnitude is >= 1e-6 and < 1e21)
        {
            if (!shortest.Contains('E', StringComparison.Ordinal))
                return shortest;
            return Expand(shortest);
        }
        var source = shortest.Contains('E', StringComparison.Ordinal) ? shortest : scientific;
        var e = source.IndexOf('E', StringComparison.Ordinal);
        var exponent = int.Parse(source.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        // One digit is enough for small negative exponents (1e-7), large ones always have two or more.
        return string.Create(CultureInfo.InvariantCulture, $"{source[..e]}e{(exponent < 0 ? "-" : "+")}{Math.Abs(exponent)}");
    }

    /// <summary>Writes a number given with an exponent without one.</summary>
    private static string Expand(string shortest)
    {
        var negative = shortest.StartsWith('-');
        var e = shortest.IndexOf('E', StringComparison.Ordinal);
        var mantissa = shortest[(negative ? 1 : 0)..e];
        var exponent = int.Parse(shortest.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var point = mantissa.IndexOf('.', StringComparison.Ordinal);
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        var position = (point < 0 ? digits.Length : point) + exponent;
        var text = position <= 0 ? "0." + new string('0', -position) + digits
            : position >= digits.Length ? digits + new string('0', position - digits.Length)
            : digits[..position] + "." + digits[position..];
        return negative ? "-" + text : text;
    }

    private void Open(byte bracket)
    {
        Separate();
        Put(bracket);
        _hasItems.Push(false);
    }

    private void Close(byte bracket)
    {
        if (_hasItems.Pop() && indented)
            NewLine();
        Put(bracket);
    }

    private void Separate()
    {
        if (_afterName)
        {
            _afterName = false;
            return;
        }
        if (_hasItems.Count == 0)
            return;
        if (_hasItems.Pop())
            Put((byte)',');
        _hasItems.Push(true);
        if (indented)
            NewLine();
    }

    private void NewLine()
    {
        Put((byte)'\n');
        var width = _hasItems.Count * 2;
        _buffer.GetSpan(width)[..width].Fill((byte)' ');
        _buffer.Advance(width);
    }

    private void Quote(string value)
    {
        Put((byte)'"');
        var rest = value.AsSpan();
        while (!rest.IsEmpty)
        {
            if (Rune.DecodeFromUtf16(rest, out var rune, out var length) != OperationStatus.Done)
                _buffer.Write("\\ufffd"u8);
            else
                PutEscaped(rune);
            rest = rest[length..];
        }
        Put((byte)'"');
    }

    private void PutEscaped(Rune rune)
    {
        switch (rune.Value)
        {
            case '"': _buffer.Write("\\\""u8); break;
            case '\\': _buffer.Write("\\\\"u8); break;
            case '\b': _buffer.Write("\\b"u8); break;
            case '\f': _buffer.Write("\\f"u8); break;
            case '\n': _buffer.Write("\\n"u8); break;
            case '\r': _buffer.Write("\\r"u8); break;
            case '\t': _buffer.Write("\\t"u8); break;
            case < 0x20 or '<' or '>' or '&' or 0x2028 or 0x2029:
                PutAscii(string.Create(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}"));
                break;
            default:
                _buffer.Advance(rune.EncodeToUtf8(_buffer.GetSpan(4)));
                break;
        }
    }

    /// <summary>Copies the inside of a JSON string; only the HTML characters are escaped, invalid UTF-8 stays.</summary>
    private void PutRawString(ReadOnlySpan<byte> inside)
    {
        Put((byte)'"');
        while (!inside.IsEmpty)
        {
            var special = inside.IndexOfAny("<>&\u2028"u8[..4]);
            if (special < 0)
                break;
            _buffer.Write(inside[..special]);
            inside = inside[special..];
            if (inside[0] == 0xe2)
            {
                if (inside.StartsWith("\u2028"u8) || inside.StartsWith("\u2029"u8))
                {
                    _buffer.Write(inside[2] == 0xa8 ? "\\u2028"u8 : "\\u2029"u8);
                    inside = inside[3..];
                    continue;
                }
                Put(inside[0]);
            }
            else
                _buffer.Write(inside[0] switch { (byte)'<' => "\\u003c"u8, (byte)'>' => "\\u003e"u8, _ => "\\u0026"u8 });
            inside = inside[1..];
        }
        _buffer.Write(inside);
        Put((byte)'"');
    }

    private void PutAscii(string text) => _buffer.Advance(Encoding.ASCII.GetBytes(text, _buffer.GetSpan(text.Length)));

    private void Put(byte value)
    {
        _buffer.GetSpan(1)[0] = value;
        _buffer.Advance(1);
    }
}
