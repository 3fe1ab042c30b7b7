using System.Text;
using BuildKit.Worker.Executor;

namespace BuildKit.Tests.Worker;

public sealed class ExecutorTextTests
{
    [Theory]
    [InlineData("/bin/sh -c echo \"a b\" && false", "\"/bin/sh -c echo \\\"a b\\\" && false\"")]
    [InlineData("a\tb\n\x1b\\é", "\"a\\tb\\n\\x1b\\\\é\"")]
    public void Quoting_is_that_of_the_reference(string text, string quoted) => Assert.Equal(quoted, GoQuote.Quote(text));

    [Fact]
    public void Later_environment_values_win_at_the_first_position() =>
        Assert.Equal(["A=3", "C=1"], StepEnvironment.Merge(["A=1", "B=2", "A=3", "B", "C=1"]));

    [Fact]
    public void Loopback_name_servers_are_dropped_and_public_ones_take_their_place()
    {
        Assert.Equal("nameserver 10.0.0.1\nsearch b\noptions x y\nfoo bar\n",
            HostFiles.ResolvConf("# c\nsearch a\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nfoo bar\nsearch b\noptions x\noptions y\n", null, hostNetwork: false));
        Assert.Equal("nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n",
            HostFiles.ResolvConf("nameserver ::1\n", null, hostNetwork: false));
        Assert.Equal("nameserver ::1\n", HostFiles.ResolvConf("nameserver ::1\n", null, hostNetwork: true));
        Assert.Equal("search z\nnameserver 10.0.0.9\n",
            HostFiles.ResolvConf("nameserver ::1\n", new DnsSettings(["10.0.0.9"], [], ["z"]), hostNetwork: true));
    }

    [Fact]
    public void Output_beyond_the_limit_is_cut_announced_once_and_its_tail_kept()
    {
        var written = new StringBuilder();
        var log = new StepLog(1, new StepLogLimits(10, -1), TimeProvider.System, (_, bytes) => written.Append(Encoding.UTF8.GetString(bytes.Span)));
        log.Write("12345678"u8.ToArray());
        log.Write("9abcd"u8.ToArray());
        log.Write("efg"u8.ToArray());
        Assert.Equal("123456789a\n[output clipped, log limit 10B reached]\n", written.ToString());
        log.FlushHeldBack();
        Assert.EndsWith("reached]\nbcdefg", written.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Both_limits_lifted_lets_everything_through()
    {
        var count = 0;
        var log = new StepLog(2, new StepLogLimits(-1, -1), TimeProvider.System, (_, bytes) => count += bytes.Length);
        for (var i = 0; i < 100; i++)
            log.Write(new byte[100_000]);
        Assert.Equal(10_000_000, count);
    }
}
