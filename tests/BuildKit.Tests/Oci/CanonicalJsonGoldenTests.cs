using System.Text;
using BuildKit.Oci;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Oci;

public sealed class CanonicalJsonGoldenTests
{
    [Fact]
    public void Every_kind_of_character_is_escaped_as_the_reference_does()
    {
        byte[] input = [0x08, 0x0c, 0x0a, 0x0d, 0x09, 0x00, 0x1f, 0x7f, .. "<>&'\"\\/é\u2028\u2029😀"u8, 0xff, 0xc3];
        var writer = new CanonicalJsonWriter();
        writer.WriteString(input);
        Assert.Equal("\"\\b\\f\\n\\r\\t\\u0000\\u001f\u007f\\u003c\\u003e\\u0026'\\\"\\\\/é\\u2028\\u2029😀\\ufffd\\ufffd\"", Encoding.UTF8.GetString(writer.WrittenSpan));
    }

    [Fact]
    public void Text_and_its_utf8_are_written_alike()
    {
        const string Text = "a<b>\u2028\t😀é\"";
        var (first, second) = (new CanonicalJsonWriter(), new CanonicalJsonWriter());
        first.WriteString(Text);
        second.WriteString(Encoding.UTF8.GetBytes(Text));
        Assert.Equal(first.ToArray(), second.ToArray());
    }

    [Fact]
    public void An_unpaired_surrogate_becomes_the_replacement_escape()
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteString("a\ud800b");
        Assert.Equal("\"a\\ufffdb\"", Encoding.UTF8.GetString(writer.WrittenSpan));
    }

    [Theory]
    [InlineData("{ \"b\" : [ 1.0e2 , \"\\u003C\\/<\" ] , \"a\" : { } }", "{\"b\":[1.0e2,\"\\u003C\\/\\u003c\"],\"a\":{}}")]
    [InlineData("\"\u2028&é\"", "\"\\u2028\\u0026é\"")]
    [InlineData(" null ", "null")]
    public void Raw_json_loses_whitespace_and_gets_html_escapes_only(string raw, string expected) =>
        Assert.Equal(expected, Encoding.UTF8.GetString(CanonicalJsonWriter.Compact(Encoding.UTF8.GetBytes(raw))));

    [Fact]
    public void Raw_json_keeps_invalid_utf8_bytes()
    {
        byte[] raw = [.. "\"a"u8, 0xff, 0xe2, 0x80, (byte)'"'];
        Assert.Equal(raw, CanonicalJsonWriter.Compact(raw));
    }

    [Fact]
    public void Indentation_keeps_empty_containers_on_one_line() =>
        Assert.Equal("{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": null\n    }\n  ]\n}",
            Encoding.UTF8.GetString(CanonicalJsonWriter.Indent("{\"a\":{},\"b\":[],\"c\":[1,{\"d\":null}]}"u8)));

    [Theory]
    [InlineData(0d, "0")]
    [InlineData(1d, "1")]
    [InlineData(0.1, "0.1")]
    [InlineData(1e20, "100000000000000000000")]
    [InlineData(1e21, "1e+21")]
    [InlineData(1.5e-7, "1.5e-7")]
    [InlineData(1e-6, "0.000001")]
    [InlineData(-2.5e300, "-2.5e+300")]
    public void Floating_point_numbers_take_the_form_of_the_reference(double value, string expected)
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteNumber(value);
        Assert.Equal(expected, Encoding.UTF8.GetString(writer.WrittenSpan));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("{} {}")]
    public void What_is_no_json_is_refused(string raw) =>
        Assert.Throws<FormatException>(() => CanonicalJsonWriter.Compact(Encoding.UTF8.GetBytes(raw)));

    public static TheoryData<string> GoldenDocuments()
    {
        var data = new TheoryData<string>();
        foreach (var directory in Golden.Index("exporters", "vectors").Select(v => v.GetProperty("dir").GetString()!))
        {
            foreach (var path in Directory.EnumerateFiles(Golden.Path("exporters", directory), "*.json").Order(StringComparer.Ordinal))
                data.Add(Path.Combine(directory, Path.GetFileName(path)));
        }
        return data;
    }

    [GoldenTheory]
    [MemberData(nameof(GoldenDocuments))]
    public void A_golden_document_is_written_again_byte_for_byte(string path)
    {
        var bytes = File.ReadAllBytes(Golden.Path("exporters", path));
        var indented = bytes.AsSpan().StartsWith("{\n"u8) || bytes.AsSpan().StartsWith("[\n"u8);
        Assert.Equal(Encoding.UTF8.GetString(bytes), Encoding.UTF8.GetString(indented ? CanonicalJsonWriter.Indent(bytes) : CanonicalJsonWriter.Compact(bytes)));
        var name = Path.GetFileName(path);
        if (name.StartsWith("config", StringComparison.Ordinal))
        {
            Assert.Equal(bytes, RawJsonObject.Parse(bytes).ToJsonInOrderOf(bytes));
            _ = ImageConfig.Parse(bytes);
        }
        else if (name.StartsWith("manifest", StringComparison.Ordinal))
            Assert.Equal(Encoding.UTF8.GetString(bytes), Encoding.UTF8.GetString(Manifest.Parse(bytes).ToJson()));
        else if (name is "index.json" or "layout-index.json")
            Assert.Equal(Encoding.UTF8.GetString(bytes), Encoding.UTF8.GetString(ImageIndex.Parse(bytes).ToJson(indented)));
    }
}

internal static class RawJsonObjectExtensions
{
    /// <summary>Attestation configs keep struct order, all others are sorted; both must come out as they were.</summary>
    public static byte[] ToJsonInOrderOf(this RawJsonObject document, byte[] original)
    {
        var sorted = document.ToJson();
        return sorted.AsSpan().SequenceEqual(original) ? sorted : ImageConfig.Parse(original).ToJson();
    }
}
