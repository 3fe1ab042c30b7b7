using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Storage;

public sealed class UsageFilterTests
{
    private static readonly UsageRecord Record = new(
        "abc123", Mutable: true, InUse: false, 10, default, null, 0, "local source for context", "source.local", Shared: false, ["p1", "p2"]);

    [Theory]
    [InlineData("", true)]
    [InlineData("id==abc123", true)]
    [InlineData("id==abc", false)]
    [InlineData("id~=^abc", true)]
    [InlineData("id!=abc", true)]
    [InlineData("type==source.local", true)]
    [InlineData("type==source.local,mutable", true)]
    [InlineData("type==source.local,type==exec.cachemount", false)]
    [InlineData("mutable", true)]
    [InlineData("immutable", false)]
    [InlineData("private", true)]
    [InlineData("shared", false)]
    [InlineData("inuse", false)]
    [InlineData("mutable==true", false)]
    [InlineData("mutable==\"\"", true)]
    [InlineData("parents==p1;p2", true)]
    [InlineData("parents~=p2", true)]
    [InlineData("nosuch", false)]
    [InlineData("nosuch!=x", true)]
    [InlineData("nosuch==x", false)]
    [InlineData("nosuch.deeper~=^$", true)]
    [InlineData("description==\"local source for context\"", true)]
    [InlineData("description~=/source for/", true)]
    [InlineData("description~=|^local|", true)]
    [InlineData("id == abc123 , mutable", true)]
    public void One_filter_selects(string filter, bool expected) => Assert.Equal(expected, UsageFilter.Parse([filter]).Matches(Record));

    [Fact]
    public void Several_filters_are_alternatives()
    {
        Assert.True(UsageFilter.Parse(["type==regular", "type==source.local"]).Matches(Record));
        Assert.False(UsageFilter.Parse(["type==regular", "type==internal"]).Matches(Record));
        Assert.True(UsageFilter.Parse([]).Matches(Record));
    }

    [Theory]
    [InlineData("size>1", "filters: parse error: [size >|>|< 1]: expected an operator (\"==\"|\"!=\"|\"~=\"): invalid argument")]
    [InlineData("id==", "filters: parse error: [id==]: expected value or quoted: invalid argument")]
    [InlineData("id=abc", "filters: parse error: [id >|=|< abc]: unsupported operator \"=\": invalid argument")]
    [InlineData("==abc", "filters: parse error: [ >|=|< =abc]: expected field or quoted: invalid argument")]
    [InlineData("id==/x/", "filters: parse error: [id== >|/|< x/]: invalid quote encountered: invalid argument")]
    public void A_bad_filter_is_refused_with_the_place(string filter, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => UsageFilter.Parse([filter])).Message);
}
