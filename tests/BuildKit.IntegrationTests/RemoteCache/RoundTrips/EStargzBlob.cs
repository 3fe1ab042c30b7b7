using System.Buffers.Binary;
using System.Formats.Tar;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>
/// An eStargz blob as tools that fetch single files read it: footer, table of contents, chunks. Written after the format's
/// description with the runtime's own gzip and tar readers, so that it shares nothing with what wrote the blob.
/// </summary>
/// <param name="Contents">The entries of the table of contents.</param>
/// <param name="ContentsDigest">Digest of the table's bytes.</param>
/// <param name="UncompressedSize">Bytes of all gzip members together.</param>
internal sealed record EStargzBlob(IReadOnlyList<JsonElement> Contents, Digest ContentsDigest, long UncompressedSize)
{
    private const int FooterSize = 51;
    private const string ContentsName = "stargz.index.json";

    /// <summary>Where the table of contents begins, by the footer; null when there is none.</summary>
    public static long? ContentsOffset(ReadOnlySpan<byte> blob)
    {
        if (blob.Length < FooterSize)
            return null;
        var footer = blob[^FooterSize..];
        var extra = footer[10..];
        var isFooter = footer[0] == 0x1F && footer[1] == 0x8B && footer[2] == 8 && footer[3] == 4
            && BinaryPrimitives.ReadUInt16LittleEndian(extra) == 26
            && extra[2] == 'S' && extra[3] == 'G' && BinaryPrimitives.ReadUInt16LittleEndian(extra[4..]) == 22
            && extra.Slice(22, 6).SequenceEqual("STARGZ"u8);
        return isFooter ? long.Parse(Encoding.ASCII.GetString(extra.Slice(6, 16)), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture) : null;
    }

    /// <summary>Reads a blob and checks that its table of contents says of every file what is there.</summary>
    public static EStargzBlob Verify(byte[] blob)
    {
        var offset = (int)(ContentsOffset(blob) ?? throw new InvalidDataException("no footer"));
        var tar = Gunzip(blob.AsSpan(0, offset));
        var contentsTar = Gunzip(blob.AsSpan(offset, blob.Length - FooterSize - offset));
        Assert.Empty(Gunzip(blob.AsSpan(blob.Length - FooterSize)));
        var whole = Gunzip(blob);
        Assert.Equal(tar.Concat(contentsTar), whole);

        using var contentsReader = new TarReader(new MemoryStream(contentsTar));
        var entry = contentsReader.GetNextEntry(copyData: true)!;
        Assert.Equal((ContentsName, TarEntryType.RegularFile), (entry.Name, entry.EntryType));
        Assert.Null(contentsReader.GetNextEntry());
        var json = new byte[entry.Length];
        entry.DataStream!.ReadExactly(json);
        using var document = JsonDocument.Parse(json);
        Assert.Equal(1, document.RootElement.GetProperty("version").GetInt32());
        List<JsonElement> contents = [.. document.RootElement.GetProperty("entries").EnumerateArray().Select(e => e.Clone())];

        var isFile = contents.ToLookup(e => Text(e, "type") != "chunk");
        using var reader = new TarReader(new MemoryStream(tar));
        var files = 0;
        for (; reader.GetNextEntry(copyData: true) is { } file; files++)
            VerifyFile(blob, file, isFile[true].ElementAt(files), [.. isFile[false].Where(e => Text(e, "name") == file.Name)]);
        Assert.Equal(isFile[true].Count(), files);
        return new EStargzBlob(contents, Digest.Sha256(json), whole.Length);
    }

    private static void VerifyFile(byte[] blob, TarEntry file, JsonElement entry, List<JsonElement> chunks)
    {
        Assert.Equal(file.Name, Text(entry, "name"));
        Assert.Equal(file.EntryType switch { TarEntryType.Directory => "dir", TarEntryType.SymbolicLink => "symlink", TarEntryType.HardLink => "hardlink", _ => "reg" }, Text(entry, "type"));
        Assert.Equal(file.LinkName, Text(entry, "linkName"));
        Assert.Equal((int)file.Mode, Number(entry, "mode"));
        Assert.Equal(file.EntryType == TarEntryType.RegularFile ? file.Length : 0, Number(entry, "size"));
        if (file.EntryType != TarEntryType.RegularFile)
            return;
        var content = new byte[file.Length];
        file.DataStream?.ReadExactly(content);
        Assert.Equal(Digest.Sha256(content).ToString(), Text(entry, "digest"));
        long end = 0;
        foreach (var chunk in content.Length == 0 ? [] : chunks.Prepend(entry))
        {
            Assert.Equal(end, Number(chunk, "chunkOffset"));
            var size = Number(chunk, "chunkSize") is > 0 and var known ? known : content.Length - end;
            var bytes = new byte[size];
            using (var member = new GZipStream(new MemoryStream(blob, (int)Number(chunk, "offset"), blob.Length - (int)Number(chunk, "offset")), CompressionMode.Decompress))
                member.ReadExactly(bytes);
            Assert.Equal(Digest.Sha256(bytes).ToString(), Text(chunk, "chunkDigest"));
            Assert.True(bytes.AsSpan().SequenceEqual(content.AsSpan((int)end, bytes.Length)), $"the chunk at {end} of {file.Name} has other bytes");
            end += size;
        }
        Assert.Equal(content.Length, end);
    }

    private static byte[] Gunzip(ReadOnlySpan<byte> bytes)
    {
        using var gzip = new GZipStream(new MemoryStream(bytes.ToArray()), CompressionMode.Decompress);
        using var result = new MemoryStream();
        gzip.CopyTo(result);
        return result.ToArray();
    }

    private static string Text(JsonElement entry, string name) => entry.TryGetProperty(name, out var text) ? text.GetString()! : "";

    private static long Number(JsonElement entry, string name) => entry.TryGetProperty(name, out var number) ? number.GetInt64() : 0;
}
