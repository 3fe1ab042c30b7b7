using BuildKit.CommandLine;

namespace BuildKit.Tests.CommandLine;

/// <summary>Flags as Go programs read them (spec 08 §1.1).</summary>
public sealed class FlagSetTests
{
    private static readonly FlagSet Set = new(
    [
        new Flag("name", FlagKind.String, "") { Aliases = ["n"], Default = "nobody" },
        new Flag("wait", FlagKind.Bool, "") { Aliases = ["w"] },
        new Flag("on", FlagKind.Bool, "") { Default = "true" },
        new Flag("count", FlagKind.Int, ""),
        new Flag("ratio", FlagKind.Float, ""),
        new Flag("for", FlagKind.Duration, ""),
        new Flag("opt", FlagKind.StringList, ""),
    ]);

    [Theory]
    [InlineData("--name", "x")]
    [InlineData("-name", "x")]
    [InlineData("--name=x")]
    [InlineData("-name=x")]
    [InlineData("-n", "x")]
    [InlineData("--n=x")]
    [InlineData("--name", "y", "--name", "x")]
    public void A_text_is_given_in_every_way(params string[] arguments) => Assert.Equal("x", Set.Parse(arguments).String("name"));

    [Fact]
    public void Two_forms_of_one_flag_are_refused() =>
        Assert.Equal("Cannot use two forms of the same flag: n name", Assert.Throws<UsageException>(() => Set.Parse(["--name", "y", "-n", "x"])).Message);

    [Fact]
    public void A_value_may_hold_anything()
    {
        Assert.Equal("a=b=c", Set.Parse(["--name=a=b=c"]).String("name"));
        Assert.Equal("--wait", Set.Parse(["--name", "--wait"]).String("name"));
        Assert.Equal("", Set.Parse(["--name="]).String("name"));
        Assert.Equal("", Set.Parse(["--name", ""]).String("name"));
    }

    [Fact]
    public void A_bool_takes_a_value_only_after_an_equals_sign()
    {
        var values = Set.Parse(["--wait", "false"]);
        Assert.True(values.Bool("wait"));
        Assert.Equal(["false"], values.Positional);
        Assert.False(Set.Parse(["--wait=false"]).Bool("wait"));
        Assert.True(Set.Parse(["-w=T"]).Bool("wait"));
        Assert.False(Set.Parse(["--on=0"]).Bool("on"));
        Assert.True(Set.Parse([]).Bool("on"));
    }

    [Fact]
    public void A_list_grows_with_every_flag_and_commas_do_not_split()
    {
        Assert.Equal(["a=1,b=2", "", "c"], Set.Parse(["--opt", "a=1,b=2", "--opt=", "-opt", "c"]).List("opt"));
        Assert.Empty(Set.Parse([]).List("opt"));
    }

    [Fact]
    public void Flags_end_at_two_dashes_or_at_the_first_other_argument()
    {
        Assert.Equal(["--wait", "x"], Set.Parse(["--", "--wait", "x"]).Positional);
        var stopped = Set.Parse(["build", "--wait"]);
        Assert.Equal(["build", "--wait"], stopped.Positional);
        Assert.False(stopped.IsSet("wait"));
        Assert.Equal(["-", "--wait"], Set.Parse(["-", "--wait"]).Positional);
    }

    [Fact]
    public void Flags_may_follow_positional_arguments_where_a_command_says_so()
    {
        var values = Set.Parse(["ref", "--wait", "other", "--name=x", "--", "--count"], interspersed: true);
        Assert.Equal(["ref", "other", "--count"], values.Positional);
        Assert.True(values.Bool("wait"));
        Assert.Equal("x", values.String("name"));
    }

    [Fact]
    public void Numbers_and_durations_are_read()
    {
        var values = Set.Parse(["--count=0x10", "--ratio", "1.5", "--for=1h2m3.5s"]);
        Assert.Equal(16, values.Int("count"));
        Assert.Equal(1.5, values.Float("ratio"));
        Assert.Equal(TimeSpan.FromSeconds(3723.5), values.Duration("for"));
        Assert.Equal(-5, Set.Parse(["--count", "-5"]).Int("count"));
    }

    [Fact]
    public void What_is_not_given_has_its_default_and_is_not_set()
    {
        var values = Set.Parse([]);
        Assert.Equal("nobody", values.String("name"));
        Assert.False(values.IsSet("name"));
        Assert.Equal(0, values.Int("count"));
        Assert.False(values.Bool("wait"));
        Assert.Equal(TimeSpan.Zero, values.Duration("for"));
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("-h")]
    public void Help_is_known_everywhere(string flag) => Assert.True(Set.Parse([flag]).HelpRequested);

    [Theory]
    [InlineData("flag provided but not defined: -what", "--what")]
    [InlineData("flag provided but not defined: -what", "-what=1")]
    [InlineData("flag provided but not defined: -wn", "-wn")]
    [InlineData("flag needs an argument: -name", "--name")]
    [InlineData("flag needs an argument: -n", "-n")]
    [InlineData("bad flag syntax: ---name", "---name")]
    [InlineData("bad flag syntax: --=x", "--=x")]
    [InlineData("bad flag syntax: -=x", "-=x")]
    [InlineData("invalid boolean value \"maybe\" for -wait: parse error", "--wait=maybe")]
    [InlineData("invalid boolean value \"\" for -w: parse error", "-w=")]
    [InlineData("invalid value \"x\" for flag -count: parse error", "--count=x")]
    [InlineData("invalid value \"9223372036854775808\" for flag -count: parse error", "--count=9223372036854775808")]
    [InlineData("invalid value \"x\" for flag -ratio: parse error", "--ratio=x")]
    [InlineData("invalid value \"5\" for flag -for: parse error", "--for=5")]
    public void A_wrong_command_line_is_refused(string message, params string[] arguments) =>
        Assert.Equal(message, Assert.Throws<UsageException>(() => Set.Parse(arguments)).Message);

    [Theory]
    [InlineData("0", 0)]
    [InlineData("010", 8)]
    [InlineData("0o17", 15)]
    [InlineData("0b11", 3)]
    [InlineData("1_000", 1000)]
    [InlineData("-9223372036854775808", long.MinValue)]
    public void An_integer_reads(string text, long value) => Assert.Equal(value, GoInt.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("-")]
    [InlineData("1.0")]
    [InlineData("08")]
    [InlineData("0x")]
    [InlineData("a")]
    [InlineData("9223372036854775808")]
    public void An_integer_is_refused(string text) => Assert.Throws<FormatException>(() => GoInt.Parse(text));
}
