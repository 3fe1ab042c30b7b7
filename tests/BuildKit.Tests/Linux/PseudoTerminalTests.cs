using System.Diagnostics;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.Tests.Linux;

public sealed class PseudoTerminalTests
{
    [Fact]
    public async Task A_program_reads_what_is_typed_and_its_output_ends_with_it()
    {
        using var terminal = PseudoTerminal.Open();
        Assert.True(PseudoTerminal.TryResize(terminal.Path, 12, 34));
        Assert.False(PseudoTerminal.TryResize("/dev/null", 12, 34));
        Assert.False(PseudoTerminal.TryResize("/nowhere", 12, 34));
        var printed = new StringBuilder();
        var reading = Task.Factory.StartNew(
            () =>
            {
                var buffer = new byte[1000];
                for (int count; (count = terminal.Read(buffer)) > 0;)
                    printed.Append(Encoding.UTF8.GetString(buffer, 0, count));
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        using var program = Process.Start(new ProcessStartInfo("sh", ["-c", "exec sh -c 'test -t 0 && stty size && read line && echo got $line' <\"$0\" >\"$0\" 2>&1", terminal.Path]))!;
        terminal.Write("hello\n"u8);
        await program.WaitForExitAsync();
        await reading;
        Assert.Contains("12 34", printed.ToString(), StringComparison.Ordinal);
        Assert.EndsWith("got hello\r\n", printed.ToString(), StringComparison.Ordinal);
        terminal.Write("nobody reads this"u8);
    }
}
