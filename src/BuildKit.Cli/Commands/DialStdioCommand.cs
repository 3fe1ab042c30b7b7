using System.Net.Sockets;
using BuildKit.Client;

namespace BuildKit.Cli.Commands;

/// <summary>
/// <c>buildctl dial-stdio</c>: the daemon's socket on standard input and output, for clients that reach this machine
/// by a command only (spec 08 §3.6). Nothing but the stream's bytes is written to standard output.
/// </summary>
internal static class DialStdioCommand
{
    /// <summary>The command.</summary>
    public static Command Create() => new("dial-stdio", "Connect standard input and output to the daemon. Used by other clients, not by people.")
    {
        IsHidden = true,
        RunAsync = static (context, _, token) => RunAsync(context, token),
    };

    private static async Task RunAsync(CommandContext context, CancellationToken cancellationToken)
    {
        var address = DaemonAddress.Parse(context.Address);
        if (address.Scheme.Length == 0)
            throw new CommandException($"invalid address {context.Address}");
        if (address.Scheme != "unix")
            throw new CommandException($"invalid address {context.Address} (expected unix://, got {address.Scheme}://)");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        using (var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
        {
            limit.CancelAfter(context.Timeout);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(address.Rest), limit.Token);
            }
            catch (Exception failure) when (failure is SocketException or OperationCanceledException)
            {
                throw new CommandException($"dial unix {address.Rest}: connect: {failure.Message}", failure);
            }
        }
        await using var connection = new NetworkStream(socket, ownsSocket: false);
        await using var input = context.OpenInput();
        var sending = SendAsync(input, connection, socket, cancellationToken);
        // When the daemon ends, so do we, even if a terminal holds standard input open.
        await connection.CopyToAsync(context.Output, cancellationToken);
        if (sending.IsFaulted)
            await sending;
    }

    private static async Task SendAsync(Stream input, NetworkStream connection, Socket socket, CancellationToken cancellationToken)
    {
        // Reading a terminal or pipe blocks a thread that nothing can wake: it must not be one the copy back needs.
        await Task.Factory.StartNew(
            () =>
            {
                var buffer = new byte[64 << 10];
                int length;
                while ((length = input.Read(buffer)) > 0)
                    connection.Write(buffer, 0, length);
                socket.Shutdown(SocketShutdown.Send);
            },
            cancellationToken,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
    }
}
