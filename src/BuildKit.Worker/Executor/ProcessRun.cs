using System.Diagnostics;
using BuildKit.Linux;
using Microsoft.Extensions.Logging;

namespace BuildKit.Worker.Executor;

/// <summary>
/// One process of a container, from the start of the runtime that runs it to its end: output, input, terminal,
/// signals, and the kill when nobody waits any more.
/// </summary>
/// <param name="runtime">Runs the container.</param>
/// <param name="containerId">The container.</param>
/// <param name="pidFile">Where the runtime writes the process id of a further process; null for the first one.</param>
/// <param name="process">The process.</param>
/// <param name="logger">Takes what the process' owner need not know.</param>
internal sealed class ProcessRun(OciRuntime runtime, string containerId, string? pidFile, ContainerProcess process, ILogger logger)
{
    private const int Kill = 9;
    private static readonly TimeSpan KillPatience = TimeSpan.FromSeconds(7);
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(50);

    /// <summary>Runs the process to its end.</summary>
    /// <param name="start">Starts the runtime with the standard streams it is given.</param>
    /// <param name="started">Called once it runs.</param>
    /// <param name="cancellationToken">Kills the process.</param>
    /// <exception cref="ExitException">It ended with a code that is not valid.</exception>
    public async Task RunAsync(Func<RuntimeStreams, Task<Process>> start, Action? started, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var terminal = process.Tty ? PseudoTerminal.Open() : null;
        Process running;
        try
        {
            running = await start(new RuntimeStreams(process.Stdin is not null, terminal?.Path));
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            throw new ExitException(ExitException.NoCode, exception);
        }
        using (running)
        {
            started?.Invoke();
            Task[] outputs = terminal is not null
                ? [OutputPump.Start(terminal.Read, process.Stdout)]
                : [OutputPump.Start(running.StandardOutput.BaseStream.Read, process.Stdout), OutputPump.Start(running.StandardError.BaseStream.Read, process.Stderr)];
            using var ended = new CancellationTokenSource();
            var input = process.Stdin is null ? Task.CompletedTask : CopyInputAsync(process.Stdin, running, terminal, ended.Token);
            var signals = process.Signals is null ? Task.CompletedTask : ForwardSignalsAsync(running, process.Signals, ended.Token);
            var sizes = process.Sizes is null || terminal is null ? Task.CompletedTask : ResizeAsync(process.Sizes, ended.Token);
            var killer = KillWhenCancelledAsync(running, cancellationToken, ended.Token);
            await running.WaitForExitAsync(CancellationToken.None);
            // A background process without a process sandbox may hold the pipes open for ever.
            await Task.WhenAll(outputs).WaitAsync(TimeSpan.FromSeconds(10), CancellationToken.None).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            foreach (var output in outputs.Where(output => output.IsFaulted))
                logger.LogWarning(output.Exception!.InnerException, "a part of what container {Id} printed was lost", containerId);
            await ended.CancelAsync();
            await killer;
            await input;
            await signals;
            await sizes;
            CheckExit(running.ExitCode, cancellationToken);
        }
    }

    private void CheckExit(int code, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
            throw new OperationCanceledException($"exit code: {code}: context canceled", new ExitException(code), cancellationToken);
        var valid = process.ValidExitCodes.Count > 0 ? process.ValidExitCodes.Contains(code) : code == 0;
        if (!valid)
            throw new ExitException(code);
    }

    /// <summary>The runtime may not know the container yet, or already not any more: repeat until its process ends.</summary>
    private async Task KillWhenCancelledAsync(Process running, CancellationToken cancelled, CancellationToken ended)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancelled, ended);
        await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (!ended.IsCancellationRequested && !running.HasExited)
        {
            await KillOnceAsync();
            await Task.Delay(PollInterval, ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task KillOnceAsync()
    {
        using var limit = new CancellationTokenSource(KillPatience);
        try
        {
            if (pidFile is null)
                await runtime.KillAsync(containerId, Kill, limit.Token);
            else if (await ReadPidAsync(limit.Token) is { } pid)
                LinuxProcess.Kill(pid, Kill);
        }
        catch (OperationCanceledException)
        {
            logger.LogWarning("the runtime did not answer a kill of container {Id} within 7 s; trying again", containerId);
        }
    }

    /// <summary>The runtime passes signals on, all but the one it cannot see (spec 06 §6.1). Before its program runs
    /// they would end the runtime itself.</summary>
    private async Task ForwardSignalsAsync(Process running, IAsyncEnumerable<int> signals, CancellationToken ended)
    {
        try
        {
            var isReady = false;
            await foreach (var signal in signals.WithCancellation(ended))
            {
                if (!isReady)
                    await WhenRunningAsync(ended);
                isReady = true;
                if (signal == Kill)
                    await KillOnceAsync();
                else
                    LinuxProcess.Kill(running.Id, signal);
            }
        }
        catch (OperationCanceledException) when (ended.IsCancellationRequested)
        {
            // The process has ended; nobody is left to signal.
        }
    }

    /// <summary>The id of the process, once it runs.</summary>
    private async Task<int> WhenRunningAsync(CancellationToken cancellationToken)
    {
        if (pidFile is null)
            return await RunningContainer.WaitUntilRunningAsync(runtime, containerId, Task.Delay(Timeout.Infinite, cancellationToken), cancellationToken);
        while (true)
        {
            if (await ReadPidAsync(cancellationToken) is { } pid)
                return pid;
            await Task.Delay(PollInterval, cancellationToken);
        }
    }

    private async Task<int?> ReadPidAsync(CancellationToken cancellationToken) =>
        File.Exists(pidFile) && int.TryParse(await File.ReadAllTextAsync(pidFile, cancellationToken), out var pid) ? pid : null;

    /// <summary>The runtime makes a terminal of its own in the container and connects it to ours. Its size is set where
    /// the process has it open: only runc would copy the size of ours.</summary>
    private async Task ResizeAsync(IAsyncEnumerable<TerminalSize> sizes, CancellationToken ended)
    {
        try
        {
            await foreach (var size in sizes.WithCancellation(ended))
            {
                var pid = await WhenRunningAsync(ended);
                for (var stream = 0; stream <= 2 && !PseudoTerminal.TryResize($"/proc/{pid}/fd/{stream}", size.Rows, size.Columns); stream++)
                {
                }
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or InvalidOperationException && ended.IsCancellationRequested)
        {
            // The process has ended with its terminal.
        }
    }

    private static async Task CopyInputAsync(Stream from, Process running, PseudoTerminal? terminal, CancellationToken ended)
    {
        try
        {
            if (terminal is null)
            {
                await using var to = running.StandardInput.BaseStream;
                await from.CopyToAsync(to, ended);
                return;
            }
            var buffer = new byte[4096];
            for (int count; (count = await from.ReadAsync(buffer, ended)) > 0;)
                terminal.Write(buffer.AsSpan(0, count));
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException)
        {
            // A process need not read its input to the end.
        }
    }
}

/// <summary>Standard streams of the runtime's process.</summary>
/// <param name="HasInput">Its input is written to.</param>
/// <param name="Terminal">The terminal that is all three streams; null for pipes.</param>
internal readonly record struct RuntimeStreams(bool HasInput, string? Terminal);
