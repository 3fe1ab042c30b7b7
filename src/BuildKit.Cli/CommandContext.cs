using System.Text;
using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.Client;
using BuildKit.CommandLine;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Cli;

/// <summary>What every command has: the streams, the global flags and the way to the daemon.</summary>
internal sealed class CommandContext
{
    /// <summary>Standard input.</summary>
    public required Func<Stream> OpenInput { get; init; }

    /// <summary>Standard output.</summary>
    public required Stream Output { get; init; }

    /// <summary>Standard error.</summary>
    public required Stream ErrorOutput { get; init; }

    /// <summary>Whether input, output, error output are terminals.</summary>
    public required Func<int, bool> IsTerminal { get; init; }

    /// <summary>Environment variable by name; null when unset.</summary>
    public required Func<string, string?> Variable { get; init; }

    /// <summary>The clock.</summary>
    public required TimeProvider Time { get; init; }

    /// <summary>The program's log.</summary>
    public required Log Log { get; init; }

    /// <summary>Colours of progress rows.</summary>
    public ProgressColors Colors { get; set; } = ProgressColors.Default;

    /// <summary>Address of the daemon.</summary>
    public string Address { get; set; } = DaemonAddress.Default;

    /// <summary>Whether somebody named the address.</summary>
    public bool IsAddressChosen { get; set; }

    /// <summary>TLS of the connection.</summary>
    public TlsOptions Tls { get; set; } = new();

    /// <summary>Bound of connecting, and of waiting with <c>--wait</c>.</summary>
    public TimeSpan Timeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Whether to wait for the daemon.</summary>
    public bool Waits { get; set; }

    /// <summary>Connects to the daemon.</summary>
    /// <param name="address">Another address than the global one.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IGrpcChannel> ConnectAsync(string? address, CancellationToken cancellationToken)
    {
        address ??= Address;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(Timeout);
        try
        {
            return Waits
                ? await DaemonConnection.WaitAsync(token => DaemonConnection.ConnectAsync(address, Tls, token), Time, limit.Token)
                : await DaemonConnection.ConnectAsync(address, Tls, limit.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new CommandException("context deadline exceeded");
        }
    }

    /// <summary>Connects, calls and puts what failed into words.</summary>
    /// <param name="what">What the error begins with, for example <c>failed to call prune: </c>.</param>
    /// <param name="call">Uses the connection.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    public async Task<T> CallAsync<T>(string what, Func<IGrpcChannel, Task<T>> call, CancellationToken cancellationToken)
    {
        try
        {
            await using var channel = await ConnectAsync(null, cancellationToken);
            return await call(channel);
        }
        catch (RpcException answer)
        {
            throw new CommandException(what + ErrorText.Of(answer), answer);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw new CommandException(what + "Canceled: context canceled");
        }
    }

    /// <summary>Writes text to standard output.</summary>
    public void Print(string text) => Output.Write(Encoding.UTF8.GetBytes(text));

    /// <summary>Writes text to standard error.</summary>
    public void PrintError(string text) => ErrorOutput.Write(Encoding.UTF8.GetBytes(text));
}

/// <summary>A command or a group of commands.</summary>
internal sealed record Command(string Name, string Usage)
{
    /// <summary>Other names.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>Flags, made when the command is used.</summary>
    public Func<IReadOnlyList<Flag>> Flags { get; init; } = static () => [];

    /// <summary>Sub-commands; then the command itself does nothing.</summary>
    public IReadOnlyList<Command> Commands { get; init; } = [];

    /// <summary>What stands for the usage line in the help; empty for the usual one.</summary>
    public string UsageText { get; init; } = "";

    /// <summary>What follows the flags in the usual usage line.</summary>
    public string ArgumentsText { get; init; } = "[arguments...]";

    /// <summary>Left out of the help.</summary>
    public bool IsHidden { get; init; }

    /// <summary>Runs it.</summary>
    public Func<CommandContext, FlagValues, CancellationToken, Task>? RunAsync { get; init; }
}
