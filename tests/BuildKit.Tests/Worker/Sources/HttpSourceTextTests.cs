using BuildKit.Protocol.Pb;
using BuildKit.Worker.Sources.Http;

namespace BuildKit.Tests.Worker.Sources;

public sealed class HttpSourceTextTests
{
    [Theory]
    [InlineData("http://h/a/b.txt", null, "b.txt")]
    [InlineData("http://h/a/b%20c.txt?q=/x", null, "b c.txt")]
    [InlineData("http://h/a/", null, "a")]
    [InlineData("http://h", null, "download")]
    [InlineData("http://h/", "attachment", "download")]
    [InlineData("http://h/..%2f..%2fetc%2fpasswd", null, "passwd")]
    [InlineData("http://h/x", "attachment; filename=y.bin", "y.bin")]
    [InlineData("http://h/x", "attachment; filename=\"x/yy.bin\"", "yy.bin")]
    [InlineData("http://h/x", "attachment; filename=\"a \\\"b\\\".txt\"; size=3", "a \"b\".txt")]
    [InlineData("http://h/x", "attachment; filename=plain.txt; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt")]
    [InlineData("http://h/x", "attachment; filename=\"..\"", "x")]
    [InlineData("http://h/x", "attachment; filename=\"dir/\"", "x")]
    [InlineData("http://h/x", "filename=y.bin", "x")]
    [InlineData("http://h/x", "attachment; filename=\"open", "x")]
    public void A_file_is_named_by_the_server_or_its_address(string url, string? disposition, string name) =>
        Assert.Equal(name, HttpFileName.Choose(new HttpAttributes(url), disposition));

    [Fact]
    public void A_name_that_was_asked_for_wins() =>
        Assert.Equal("mine", HttpFileName.Choose(new HttpAttributes("http://h/x") { Filename = "mine" }, "attachment; filename=y"));

    [Theory]
    [InlineData("../x")]
    [InlineData("a/b")]
    [InlineData("..")]
    [InlineData("/etc/passwd")]
    public void A_name_never_leads_elsewhere(string name) =>
        Assert.Throws<InvalidOperationException>(() => HttpAttributes.Parse(new SourceOp { Identifier = "http://h/x", Attrs = { ["http.filename"] = name } }));

    [Theory]
    [InlineData("0644", 0x1A4)]
    [InlineData("0o600", 0x180)]
    [InlineData("420", 420)]
    [InlineData("0x1ff", 0x1FF)]
    [InlineData("0", 0)]
    public void Numbers_carry_their_base(string text, int perm) =>
        Assert.Equal(perm, HttpAttributes.Parse(new SourceOp { Identifier = "http://h/x", Attrs = { ["http.perm"] = text } }).Perm);

    [Fact]
    public void Malformed_attributes_are_refused()
    {
        Assert.Throws<InvalidOperationException>(() => HttpAttributes.Parse(new SourceOp { Identifier = "http://h/x", Attrs = { ["http.uid"] = "root" } }));
        Assert.Throws<InvalidOperationException>(() => HttpAttributes.Parse(new SourceOp { Identifier = "http://h/x", Attrs = { ["http.checksum"] = "sha256:12" } }));
    }
}
