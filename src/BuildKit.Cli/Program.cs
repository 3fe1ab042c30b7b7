using BuildKit.Cli;
using BuildKit.Cli.Text;
using BuildKit.Linux;
using BuildKit.Cli.Commands;
using System.Runtime.InteropServices;

// Files get exactly the mode they are made with (spec 08 §1.1).
LinuxProcess.SetUmask(0);
using var interrupt = new CancellationTokenSource();
var signals = 0;
var errorOutput = new StandardStream(2);
var log = new Log(errorOutput, Terminal.IsTerminal(2), TimeProvider.System);
BuildKit.Linux.LinuxProcess.AcceptInterrupts();
using var onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
using var onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
var context = new CommandContext
{
    OpenInput = static () => new StandardStream(0),
    Output = new StandardStream(1),
    ErrorOutput = errorOutput,
    IsTerminal = Terminal.IsTerminal,
    Variable = Environment.GetEnvironmentVariable,
    Time = TimeProvider.System,
    Log = log,
};
return await Buildctl.RunAsync(args, context, interrupt.Token);

void OnSignal(PosixSignalContext signal)
{
    signal.Cancel = true;
    if (Interlocked.Increment(ref signals) >= 3)
    {
        log.Error("got 3 SIGTERM/SIGINTs, forcing shutdown");
        Environment.Exit(1);
    }
    interrupt.Cancel();
}
