using System.Text;
using BuildKit.Daemon.Configuration.Toml;

namespace BuildKit.Tests.Daemon;

/// <summary>What TOML 1.0 allows, and what it means.</summary>
public sealed class TomlValidTests
{
    [Theory]
    // strings
    [InlineData("a = \"\"", "{a:\"\"}")]
    [InlineData("a = ''", "{a:\"\"}")]
    [InlineData("a = \"x # no comment\" # comment", "{a:\"x # no comment\"}")]
    [InlineData("a = \"tab\there\"", "{a:\"tab<9>here\"}")]
    [InlineData(@"a = ""\b\t\n\f\r\""\\""", "{a:\"<8><9><10><12><13>\"\\\"}")]
    [InlineData(@"a = ""\u00e9\U0001F600""", "{a:\"é😀\"}")]
    [InlineData(@"a = ""\u0000""", "{a:\"<0>\"}")]
    [InlineData(@"a = 'C:\n\u00e9'", "{a:\"C:\\n\\u00e9\"}")]
    [InlineData("a = \"\"\"\"\"\"", "{a:\"\"}")]
    [InlineData("a = \"\"\"\nx\ny\"\"\"", "{a:\"x<10>y\"}")]
    [InlineData("a = \"\"\"\r\nx\r\ny\"\"\"", "{a:\"x<13><10>y\"}")]
    [InlineData("a = \"\"\"x \\\n\n   y\"\"\"", "{a:\"x y\"}")]
    [InlineData("a = \"\"\"x\\  \n  y\"\"\"", "{a:\"xy\"}")]
    [InlineData("a = \"\"\"one \"\" two\"\"\"", "{a:\"one \"\" two\"}")]
    [InlineData("a = \"\"\"x\"\"\"\"", "{a:\"x\"\"}")]
    [InlineData("a = \"\"\"x\"\"\"\"\"", "{a:\"x\"\"\"}")]
    [InlineData("a = \"\"\"x\\\"\"\"\"", "{a:\"x\"\"}")]
    [InlineData("a = '''\nx\\\n y'''", "{a:\"x\\<10> y\"}")]
    [InlineData("a = '''x'''''", "{a:\"x''\"}")]
    // integers
    [InlineData("a = 0", "{a:0}")]
    [InlineData("a = +99", "{a:99}")]
    [InlineData("a = -0", "{a:0}")]
    [InlineData("a = 1_000_000", "{a:1000000}")]
    [InlineData("a = 9223372036854775807", "{a:9223372036854775807}")]
    [InlineData("a = -9223372036854775808", "{a:-9223372036854775808}")]
    [InlineData("a = 0xDEAD_beef", "{a:3735928559}")]
    [InlineData("a = 0x7fffffffffffffff", "{a:9223372036854775807}")]
    [InlineData("a = 0o755", "{a:493}")]
    [InlineData("a = 0b1101_0110", "{a:214}")]
    [InlineData("a = 0x00", "{a:0}")]
    // floats
    [InlineData("a = 3.1415", "{a:f3.1415}")]
    [InlineData("a = -0.01", "{a:f-0.01}")]
    [InlineData("a = 5e+22", "{a:f5E+22}")]
    [InlineData("a = 1e06", "{a:f1000000}")]
    [InlineData("a = -2E-2", "{a:f-0.02}")]
    [InlineData("a = 6.626e-34", "{a:f6.626E-34}")]
    [InlineData("a = 224_617.445_991", "{a:f224617.445991}")]
    [InlineData("a = inf", "{a:fInfinity}")]
    [InlineData("a = -inf", "{a:f-Infinity}")]
    [InlineData("a = +nan", "{a:fNaN}")]
    // booleans
    [InlineData("a = true\nb = false", "{a:true,b:false}")]
    // dates and times
    [InlineData("a = 1979-05-27T07:32:00Z", "{a:OffsetDateTime 1979-05-27T07:32:00Z}")]
    [InlineData("a = 1979-05-27t00:32:00.999999-07:00", "{a:OffsetDateTime 1979-05-27T00:32:00.999999-07:00}")]
    [InlineData("a = 1979-05-27 07:32:00z", "{a:OffsetDateTime 1979-05-27T07:32:00Z}")]
    [InlineData("a = 1979-05-27T07:32:00", "{a:LocalDateTime 1979-05-27T07:32:00}")]
    [InlineData("a = 1979-05-27 07:32:00.5", "{a:LocalDateTime 1979-05-27T07:32:00.5}")]
    [InlineData("a = 1979-05-27 # day", "{a:LocalDate 1979-05-27}")]
    [InlineData("a = 2000-02-29", "{a:LocalDate 2000-02-29}")]
    [InlineData("a = 07:32:00", "{a:LocalTime 07:32:00}")]
    [InlineData("a = 00:32:00.999", "{a:LocalTime 00:32:00.999}")]
    // arrays
    [InlineData("a = []", "{a:[]}")]
    [InlineData("a = [ 1, 2, ]", "{a:[1,2]}")]
    [InlineData("a = [\n 1, # one\n # two\n 2\n]", "{a:[1,2]}")]
    [InlineData("a = [1, \"x\", [true], {b = 1.5}]", "{a:[1,\"x\",[true],{b:f1.5}]}")]
    [InlineData("a = [1979-05-27, 1979-05-28]", "{a:[LocalDate 1979-05-27,LocalDate 1979-05-28]}")]
    // keys
    [InlineData("bare_Key-1 = 1", "{bare_Key-1:1}")]
    [InlineData("1234 = 1", "{1234:1}")]
    [InlineData("\"\" = 1", "{:1}")]
    [InlineData("\"docker.io\" = 1\n'q\"q' = 2", "{docker.io:1,q\"q:2}")]
    [InlineData(@"""\u00e9"" = 1", "{é:1}")]
    [InlineData("a.b . c = 1", "{a:{b:{c:1}}}")]
    [InlineData("3.14 = 1", "{3:{14:1}}")]
    [InlineData("a.\"b.c\".d = 1", "{a:{b.c:{d:1}}}")]
    [InlineData("a.x = 1\nb = 2\na.y = 3", "{a:{x:1,y:3},b:2}")]
    // tables
    [InlineData("", "{}")]
    [InlineData("\uFEFFa = 1", "{a:1}")]
    [InlineData("# only a comment", "{}")]
    [InlineData("\r\n\t \r\na = 1\r\n", "{a:1}")]
    [InlineData("[a]", "{a:{}}")]
    [InlineData("[ a . \"b.c\" ] # comment\nx = 1", "{a:{b.c:{x:1}}}")]
    [InlineData("[a.b]\nx = 1\n[a]\ny = 2", "{a:{b:{x:1},y:2}}")]
    [InlineData("[fruit]\napple.color = 1\n[fruit.apple.taste]\nsweet = true", "{fruit:{apple:{color:1,taste:{sweet:true}}}}")]
    [InlineData("  [a]\n\tx = 1", "{a:{x:1}}")]
    // inline tables
    [InlineData("a = {}", "{a:{}}")]
    [InlineData("a = { x = 1, y.z = 2, y.w = 3 }", "{a:{x:1,y:{z:2,w:3}}}")]
    [InlineData("a = { b = [\n1,\n2 ] }", "{a:{b:[1,2]}}")]
    // arrays of tables
    [InlineData("[[a]]\nx = 1\n[[a]]\n[[a]]\nx = 3", "{a:[{x:1},{},{x:3}]}")]
    [InlineData("[[a]]\n[a.b]\nx = 1\n[[a.c]]\ny = 1\n[[a.c]]\n[[a]]\n[a.b]\nx = 2", "{a:[{b:{x:1},c:[{y:1},{}]},{b:{x:2}}]}")]
    [InlineData("[[worker.oci.gcpolicy]]\nall = true", "{worker:{oci:{gcpolicy:[{all:true}]}}}")]
    public void A_text_means(string toml, string expected)
    {
        var meaning = Show(TomlParser.Parse(Encoding.UTF8.GetBytes(toml)));
        Assert.Equal(expected, meaning);
    }

    /// <summary>The tree in one line; control characters as their number.</summary>
    private static string Show(object value) => value switch
    {
        TomlTable table => "{" + string.Join(',', table.Keys.Select(key => key + ":" + Show(table[key]!))) + "}",
        TomlArray array => "[" + string.Join(',', array.Items.Select(Show)) + "]",
        string text => "\"" + string.Concat(text.Select(static c => c < ' ' ? $"<{(int)c}>" : c.ToString())) + "\"",
        double number => "f" + number.ToString(System.Globalization.CultureInfo.InvariantCulture),
        bool flag => flag ? "true" : "false",
        TomlDateTime time => $"{time.Kind} {time.Text}",
        _ => Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture)!,
    };
}
