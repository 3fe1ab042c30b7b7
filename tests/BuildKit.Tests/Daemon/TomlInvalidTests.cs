using System.Text;
using BuildKit.Daemon.Configuration.Toml;

namespace BuildKit.Tests.Daemon;

/// <summary>What TOML 1.0 forbids.</summary>
public sealed class TomlInvalidTests
{
    [Theory]
    // strings
    [InlineData("a = \"open")]
    [InlineData("a = \"two\nlines\"")]
    [InlineData("a = 'two\nlines'")]
    [InlineData("a = 'open")]
    [InlineData("a = \"\"\"open\"\"")]
    [InlineData("a = '''open''")]
    [InlineData("a = \"\"\"x\"\"\"\"\"\"")]
    [InlineData("a = '''x''''''")]
    [InlineData(@"a = ""\x41""")]
    [InlineData(@"a = ""\a""")]
    [InlineData(@"a = ""\u12""")]
    [InlineData(@"a = ""\u00g0""")]
    [InlineData(@"a = ""\ud800""")]
    [InlineData(@"a = ""\U00110000""")]
    [InlineData(@"a = ""\")]
    [InlineData("a = \"\"\"x \\ y\"\"\"")]
    [InlineData("a = x")]
    [InlineData("a = \"x\" \"y\"")]
    // control characters
    [InlineData("a = \"\u0000\"")]
    [InlineData("a = \"\u0001\"")]
    [InlineData("a = \"\u007f\"")]
    [InlineData("a = '\u001f'")]
    [InlineData("a = \"\"\"\u0008\"\"\"")]
    [InlineData("a = '''\u0000'''")]
    [InlineData("a = \"\"\"x\ry\"\"\"")]
    [InlineData("# \u0000")]
    [InlineData("# \u007f")]
    [InlineData("# x\ry = 1")]
    [InlineData("a = 1\rb = 2")]
    [InlineData("\u0000")]
    [InlineData("a = 1\u0000")]
    [InlineData("a\u00a0= 1")]
    // numbers
    [InlineData("a = 01")]
    [InlineData("a = -01")]
    [InlineData("a = 1__0")]
    [InlineData("a = _1")]
    [InlineData("a = 1_")]
    [InlineData("a = ++1")]
    [InlineData("a = +0x1")]
    [InlineData("a = 0X1")]
    [InlineData("a = 0x")]
    [InlineData("a = 0x_1")]
    [InlineData("a = 0o8")]
    [InlineData("a = 0b2")]
    [InlineData("a = 9223372036854775808")]
    [InlineData("a = -9223372036854775809")]
    [InlineData("a = 0x8000000000000000")]
    [InlineData("a = 0x10000000000000000")]
    [InlineData("a = .5")]
    [InlineData("a = 5.")]
    [InlineData("a = 5.e2")]
    [InlineData("a = 5._1")]
    [InlineData("a = 1_e5")]
    [InlineData("a = 1e")]
    [InlineData("a = 03.14")]
    [InlineData("a = Inf")]
    [InlineData("a = NaN")]
    [InlineData("a = True")]
    // dates and times
    [InlineData("a = 1979-13-01")]
    [InlineData("a = 1979-02-30")]
    [InlineData("a = 1979-5-27")]
    [InlineData("a = 24:00:00")]
    [InlineData("a = 07:60:00")]
    [InlineData("a = 07:32")]
    [InlineData("a = 07:32:00.")]
    [InlineData("a = 07:32:00Z")]
    [InlineData("a = 1979-05-27T")]
    [InlineData("a = 1979-05-27T07:32")]
    [InlineData("a = 1979-05-27T07:32:00+25:00")]
    [InlineData("a = 1979-05-27Z")]
    // arrays
    [InlineData("a = [1 2]")]
    [InlineData("a = [,]")]
    [InlineData("a = [1,,2]")]
    [InlineData("a = [1")]
    [InlineData("a = [1 # comment ]")]
    // keys
    [InlineData("a")]
    [InlineData("a =")]
    [InlineData("= 1")]
    [InlineData("a = 1 b = 2")]
    [InlineData("a. = 1")]
    [InlineData(".a = 1")]
    [InlineData("a..b = 1")]
    [InlineData("a b = 1")]
    [InlineData("a\n= 1")]
    [InlineData("a =\n1")]
    [InlineData("é = 1")]
    [InlineData("\"\"\"a\"\"\" = 1")]
    [InlineData("'''a''' = 1")]
    [InlineData("a = 1\na = 2")]
    [InlineData("a = 1\n\"a\" = 2")]
    [InlineData("a = 1\na.b = 2")]
    [InlineData("a.b = 1\na = 2")]
    [InlineData("a.b = 1\na.b.c = 2")]
    // tables
    [InlineData("[]")]
    [InlineData("[a")]
    [InlineData("[a]]")]
    [InlineData("[[a]")]
    [InlineData("[[a] ]")]
    [InlineData("[a.]")]
    [InlineData("[a..b]")]
    [InlineData("[a b]")]
    [InlineData("[a\n]")]
    [InlineData("[a] b = 1")]
    [InlineData("[a]\n[a]")]
    [InlineData("[a.b]\n[a]\n[a.b]")]
    [InlineData("a = 1\n[a]")]
    [InlineData("a = 1\n[a.b]")]
    [InlineData("a.b = 1\n[a]")]
    [InlineData("[fruit]\napple.color = 1\n[fruit.apple]")]
    [InlineData("[a.b.c]\n[a]\nb.c.d = 1")]
    [InlineData("[a.b]\n[a]\nb.x = 1")]
    // inline tables
    [InlineData("a = {")]
    [InlineData("a = { x = 1")]
    [InlineData("a = { x = 1, }")]
    [InlineData("a = { , }")]
    [InlineData("a = { x = 1 y = 2 }")]
    [InlineData("a = { x = 1,\n y = 2 }")]
    [InlineData("a = {\n x = 1 }")]
    [InlineData("a = { x = 1, x = 2 }")]
    [InlineData("a = { x.y = 1, x = 2 }")]
    [InlineData("a = { x = { y = 1 }, x.z = 2 }")]
    [InlineData("a = { x = 1 }\na.y = 2")]
    [InlineData("a = { x = 1 }\n[a]")]
    [InlineData("a = { x = 1 }\n[a.y]")]
    [InlineData("a = { x.y = 1 }\n[a.x]")]
    // arrays of tables
    [InlineData("a = []\n[[a]]")]
    [InlineData("a = [{}]\n[a.b]")]
    [InlineData("[a]\n[[a]]")]
    [InlineData("[[a]]\n[a]")]
    [InlineData("[[a]]\n[a.b]\n[a.b]")]
    [InlineData("[a.b]\n[[a]]")]
    [InlineData("[[a.b]]\n[a.b]")]
    [InlineData("a.b = 1\n[[a]]")]
    public void A_text_is_refused(string toml)
    {
        var error = Assert.Throws<TomlException>(() => TomlParser.Parse(Encoding.UTF8.GetBytes(toml)));
        Assert.True(error.Line >= 1 && error.Column >= 1, error.Message);
    }

    [Theory]
    [InlineData("a = 1\nb = ?", 2, 5)]
    [InlineData("[a]\r\n\r\nx = \"open", 3, 5)]
    [InlineData("a = 1\n  a = 2", 2, 3)]
    [InlineData("a = [\n1,\n2", 3, 2)]
    [InlineData("a = 1\n[x]\ny = 01", 3, 5)]
    public void The_error_names_the_place(string toml, int line, int column)
    {
        var error = Assert.Throws<TomlException>(() => TomlParser.Parse(toml));
        Assert.Equal((line, column), (error.Line, error.Column));
        Assert.StartsWith($"({line}, {column}): ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bytes_that_are_no_UTF8_are_refused_with_their_line()
    {
        var error = Assert.Throws<TomlException>(() => TomlParser.Parse([.. "a = 1\nb = \""u8, 0xC3, 0x28, .. "\""u8]));
        Assert.Equal(2, error.Line);
        // An encoded surrogate, an overlong form.
        Assert.Throws<TomlException>(() => TomlParser.Parse([.. "# "u8, 0xED, 0xA0, 0x80]));
        Assert.Throws<TomlException>(() => TomlParser.Parse([.. "# "u8, 0xC0, 0xAF]));
    }
}
