using System.Buffers;
using System.Text;
using BuildKit.Protocol.Http2;

namespace BuildKit.Tests.Protocol;

public class HpackTests
{
    [Theory]
    [InlineData("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff")]
    [InlineData("no-cache", "a8eb10649cbf")]
    [InlineData("custom-value", "25a849e95bb8e8b4bf")]
    [InlineData("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff")]
    public void Huffman_strings_of_the_RFC(string text, string hex)
    {
        var bytes = Encoding.ASCII.GetBytes(text);
        var encoded = new byte[HuffmanCode.EncodedLength(bytes)];
        HuffmanCode.Encode(bytes, encoded);
        Assert.Equal(hex, Convert.ToHexStringLower(encoded));
        var decoded = new byte[100];
        Assert.Equal(text, Encoding.ASCII.GetString(decoded, 0, HuffmanCode.Decode(encoded, decoded)));
    }

    [Fact]
    public void The_request_sequence_of_the_RFC_decodes_through_the_dynamic_table()
    {
        var decoder = new HpackDecoder(10000);
        Assert.Equal(
            [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"],
            Decode(decoder, "828684418cf1e3c2e5f23a6ba0ab90f4ff"));
        Assert.Equal(
            [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com", "cache-control=no-cache"],
            Decode(decoder, "828684be5886a8eb10649cbf"));
        Assert.Equal(
            [":method=GET", ":scheme=https", ":path=/index.html", ":authority=www.example.com", "custom-key=custom-value"],
            Decode(decoder, "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"));
    }

    [Fact]
    public void What_is_encoded_decodes_again_across_many_blocks()
    {
        var encoder = new HpackEncoder();
        var decoder = new HpackDecoder(1 << 20);
        var random = new Random(7);
        for (var block = 0; block < 300; block++)
        {
            if (block % 50 == 49)
                encoder.SetPeerTableSize(random.Next(0, 5000));
            var output = new ArrayBufferWriter<byte>();
            var expected = new List<string>();
            encoder.Begin(output);
            for (var i = 0; i < 20; i++)
            {
                var (name, value) = ($"key-{random.Next(30)}", new string((char)random.Next(32, 900), random.Next(0, 300)));
                encoder.Field(output, name, value, random.Next(2) == 0);
                expected.Add($"{name}={value}");
            }

            Assert.Equal(expected, decoder.Decode(output.WrittenSpan).Select(f => $"{f.Name}={f.Value}"));
        }
    }

    [Fact]
    public void Random_blocks_decode_or_are_refused()
    {
        var random = new Random(11);
        for (var i = 0; i < 20_000; i++)
        {
            var block = new byte[random.Next(1, 60)];
            random.NextBytes(block);
            try
            {
                new HpackDecoder(4096).Decode(block);
            }
            catch (Http2ProtocolException)
            {
            }
        }
    }

    private static string[] Decode(HpackDecoder decoder, string hex) =>
        [.. decoder.Decode(Convert.FromHexString(hex)).Select(f => $"{f.Name}={f.Value}")];
}
