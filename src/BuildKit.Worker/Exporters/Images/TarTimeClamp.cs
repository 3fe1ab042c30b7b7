using System.Globalization;
using System.Text;
using BuildKit.Storage.Layers.Tar;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Copies a tar and makes every time in its headers that is later than a limit the limit; everything else stays as it is.</summary>
internal static class TarTimeClamp
{
    private const int Block = TarHeaderEncoder.BlockSize;
    private const int BufferSize = 128 << 10;
    private const int LargestExtension = 16 << 20;

    private static readonly (int Offset, int Length) Mtime = (136, 12);
    private static readonly (int Offset, int Length)[] GnuTimes = [(345, 12), (357, 12)];

    /// <summary>Copies the archive up to its end mark, which is written anew.</summary>
    /// <param name="source">The uncompressed tar.</param>
    /// <param name="output">Where it goes; stays open.</param>
    /// <param name="latest">The limit, seconds since 1970.</param>
    /// <param name="cancellationToken">Ends the copy.</param>
    /// <exception cref="InvalidDataException">Not a tar, or it ends early.</exception>
    public static async Task CopyAsync(Stream source, Stream output, long latest, CancellationToken cancellationToken)
    {
        var header = new byte[Block];
        var buffer = new byte[BufferSize];
        while (await source.ReadAtLeastAsync(header, Block, throwOnEndOfStream: false, cancellationToken) is var length and > 0)
        {
            if (length < Block)
                throw new InvalidDataException("unexpected end of the archive in a header");
            if (!header.AsSpan().ContainsAnyExcept((byte)0))
                break;
            var size = Number(header, 124, 12);
            var type = header[156];
            if (type is TarType.PaxEntry or TarType.PaxGlobal)
            {
                await CopyExtensionAsync(source, output, header, size, latest, cancellationToken);
                continue;
            }
            Clamp(header, Mtime, latest);
            if (header.AsSpan(257, 8).SequenceEqual("ustar  \0"u8))
            {
                foreach (var field in GnuTimes)
                    Clamp(header, field, latest);
            }
            WriteChecksum(header);
            await output.WriteAsync(header, cancellationToken);
            if (!TarType.IsHeaderOnly(type))
                await CopyContentAsync(source, output, buffer, size + TarHeaderEncoder.Padding(size), cancellationToken);
        }
        await output.WriteAsync(new byte[2 * Block], cancellationToken);
        // What follows the end mark is read, so that the source is verified to its end, and left out.
        while (await source.ReadAsync(buffer, cancellationToken) > 0)
        {
        }
    }

    private static async Task CopyContentAsync(Stream source, Stream output, byte[] buffer, long count, CancellationToken cancellationToken)
    {
        while (count > 0)
        {
            var read = await source.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, count)), cancellationToken);
            if (read == 0)
                throw new InvalidDataException("unexpected end of the archive in a file");
            await output.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
            count -= read;
        }
    }

    private static async Task CopyExtensionAsync(Stream source, Stream output, byte[] header, long size, long latest, CancellationToken cancellationToken)
    {
        if (size is < 0 or > LargestExtension)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"extended header of {size} bytes"));
        var data = new byte[size + TarHeaderEncoder.Padding(size)];
        await source.ReadExactlyAsync(data, cancellationToken);
        var records = ClampRecords(data.AsSpan(0, (int)size), latest);
        Encoding.ASCII.GetBytes(Convert.ToString(records.Length, 8).PadLeft(11, '0')).CopyTo(header, 124);
        header[135] = 0;
        Clamp(header, Mtime, latest);
        WriteChecksum(header);
        await output.WriteAsync(header, cancellationToken);
        await output.WriteAsync(records, cancellationToken);
        await output.WriteAsync(new byte[TarHeaderEncoder.Padding(records.Length)], cancellationToken);
    }

    private static byte[] ClampRecords(ReadOnlySpan<byte> data, long latest)
    {
        var result = new List<byte>(data.Length);
        while (!data.IsEmpty)
        {
            var space = data.IndexOf((byte)' ');
            if (space <= 0 || !int.TryParse(data[..space], NumberStyles.None, CultureInfo.InvariantCulture, out var length)
                || length <= space || length > data.Length)
                throw new InvalidDataException("malformed extended header");
            var record = data[(space + 1)..length];
            var equals = record.IndexOf((byte)'=');
            if (equals > 0 && Encoding.ASCII.GetString(record[..equals]) is "mtime" or "atime" or "ctime"
                && IsLater(Encoding.ASCII.GetString(record[(equals + 1)..]).TrimEnd('\n'), latest))
                result.AddRange(Record(Encoding.ASCII.GetString(record[..equals]), latest));
            else
                result.AddRange(data[..length]);
            data = data[length..];
        }
        return [.. result];
    }

    private static bool IsLater(string time, long latest)
    {
        var point = time.IndexOf('.', StringComparison.Ordinal);
        var whole = point < 0 ? time : time[..point];
        if (!long.TryParse(whole, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds))
            throw new InvalidDataException($"malformed time {time} in extended header");
        return seconds > latest || (seconds == latest && point >= 0 && !time.StartsWith('-') && time.AsSpan(point + 1).ContainsAnyExcept('0'));
    }

    private static byte[] Record(string key, long value)
    {
        var rest = string.Create(CultureInfo.InvariantCulture, $" {key}={value}\n");
        var length = rest.Length + 1;
        while (length.ToString(CultureInfo.InvariantCulture).Length + rest.Length > length)
            length++;
        return Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{length}{rest}"));
    }

    private static void Clamp(byte[] header, (int Offset, int Length) field, long latest)
    {
        if (Number(header, field.Offset, field.Length) <= latest)
            return;
        var span = header.AsSpan(field.Offset, field.Length);
        var value = latest;
        for (var i = span.Length - 2; i >= 0; i--)
        {
            span[i] = (byte)('0' + (value & 7));
            value >>= 3;
        }
        span[^1] = 0;
        if (value > 0)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"time {latest} does not fit a header"));
    }

    private static long Number(byte[] header, int offset, int length)
    {
        var span = header.AsSpan(offset, length);
        if ((span[0] & 0x80) != 0)
        {
            // Two's complement, most significant byte first; the first bit only marks the form.
            long value = (span[0] & 0x40) != 0 ? -1 : 0;
            for (var i = 0; i < span.Length; i++)
                value = (value << 8) | (i == 0 ? (byte)((span[0] & 0x40) != 0 ? span[0] : span[0] & 0x7f) : span[i]);
            return value;
        }
        long number = 0;
        foreach (var b in span)
        {
            if (b is (byte)' ' or 0)
                continue;
            if (b is < (byte)'0' or > (byte)'7')
                throw new InvalidDataException("malformed number in an archive header");
            number = (number << 3) | (uint)(b - '0');
        }
        return number;
    }

    private static void WriteChecksum(byte[] header)
    {
        var field = header.AsSpan(148, 8);
        field.Fill((byte)' ');
        var sum = 0;
        foreach (var b in header)
            sum += b;
        for (var i = 5; i >= 0; i--)
        {
            field[i] = (byte)('0' + (sum & 7));
            sum >>= 3;
        }
        field[6] = 0;
    }
}
