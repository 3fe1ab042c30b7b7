using BuildKit.Oci;

namespace BuildKit.Tests.Oci;

public sealed class ImageReferenceTests
{
    private const string Hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    [Theory]
    [InlineData("busybox", "docker.io/library/busybox:latest", "busybox:latest")]
    [InlineData("index.docker.io/foo/bar", "docker.io/foo/bar:latest", "foo/bar:latest")]
    [InlineData("docker.io/x", "docker.io/library/x:latest", "x:latest")]
    [InlineData("localhost/foo", "localhost/foo:latest", "localhost/foo:latest")]
    [InlineData("Foo/bar", "Foo/bar:latest", "Foo/bar:latest")]
    [InlineData("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest")]
    [InlineData("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1")]
    [InlineData("a__b/c--d/e.f", "docker.io/a__b/c--d/e.f:latest", "a__b/c--d/e.f:latest")]
    [InlineData("a:v1@sha256:" + Hex, "docker.io/library/a:v1@sha256:" + Hex, "a:v1@sha256:" + Hex)]
    [InlineData("a@sha256:" + Hex, "docker.io/library/a@sha256:" + Hex, "a@sha256:" + Hex)]
    public void A_familiar_name_gets_its_full_form(string text, string canonical, string familiar)
    {
        var reference = ImageReference.ParseWithDefaultTag(text);
        Assert.Equal(canonical, reference.ToString());
        Assert.Equal(familiar, reference.Familiar);
        Assert.Equal(reference, ImageReference.Parse(canonical));
    }

    [Theory]
    [InlineData("", "invalid reference format")]
    [InlineData("a:", "invalid reference format")]
    [InlineData("a:-x", "invalid reference format")]
    [InlineData("a___b", "invalid reference format")]
    [InlineData("a..b", "invalid reference format")]
    [InlineData("-a", "invalid reference format")]
    [InlineData("host:port/x", "invalid reference format")]
    [InlineData("a@sha256:abcd", "invalid reference format")]
    [InlineData("a\n", "invalid reference format")]
    [InlineData("a/B", "invalid reference format: repository name (a/B) must be lowercase")]
    [InlineData("FOO", "invalid reference format: repository name (library/FOO) must be lowercase")]
    [InlineData(Hex, "invalid repository name (" + Hex + "), cannot specify 64-byte hexadecimal strings")]
    [InlineData("a@sha256:0123456789abcdef0123456789abcdef", "invalid checksum digest length")]
    [InlineData("a@foo:" + Hex, "unsupported digest algorithm")]
    public void What_is_no_reference_is_refused_in_the_words_of_the_reference(string text, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => ImageReference.Parse(text)).Message);

    [Fact]
    public void A_long_path_is_refused() =>
        Assert.Equal("repository name must not be more than 255 characters",
            Assert.Throws<FormatException>(() => ImageReference.Parse("host.test/" + new string('a', 256))).Message);

    [Theory]
    [InlineData("a:v1", "v1")]
    [InlineData("a@sha256:" + Hex, "@sha256:" + Hex)]
    [InlineData("a:v1@sha256:" + Hex, "v1@sha256:" + Hex)]
    [InlineData("a", "")]
    public void The_object_is_the_part_after_the_name(string text, string expected) =>
        Assert.Equal(expected, ImageReference.Parse(text).Object);
}
