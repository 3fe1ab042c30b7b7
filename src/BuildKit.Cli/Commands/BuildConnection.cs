using BuildKit.Client;
using BuildKit.Cli.Text;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Cli.Commands;

/// <summary>The connection of a build: to the daemon named or running, else to a private one started for it.</summary>
internal sealed class BuildConnection : IAsyncDisposable
{
    private readonly PrivateDaemon? _daemon;

    private BuildConnection(IGrpcChannel channel, PrivateDaemon? daemon)
    {
        Channel = channel;
        _daemon = daemon;
    }

    /// <summary>The connection.</summary>
    public IGrpcChannel Channel { get; }

    /// <summary>Connects.</summary>
    public static async Task<BuildConnection> OpenAsync(CommandContext context, CancellationToken cancellationToken)
    {
        try
        {
            return new BuildConnection(await context.ConnectAsync(null, cancellationToken), null);
        }
        catch (RpcException answer) when (answer.Code == StatusCode.Unavailable)
        {
            if (context.IsAddressChosen || context.Waits || PrivateDaemon.FindProgram() is not { } program)
                throw new CommandException("failed to solve: " + ErrorText.Of(answer), answer);
            return await StartAsync(context, program, cancellationToken);
        }
        catch (ClientException failure)
        {
            throw new CommandException(failure.Message, failure);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await Channel.DisposeAsync();
        if (_daemon is not null)
            await _daemon.DisposeAsync();
    }

    private static async Task<BuildConnection> StartAsync(CommandContext context, string program, CancellationToken cancellationToken)
    {
        PrivateDaemon daemon;
        try
        {
            daemon = await PrivateDaemon.StartAsync(program, cancellationToken);
        }
        catch (ClientException failure)
        {
            throw new CommandException(failure.Message, failure);
        }
        context.PrintError($"No daemon at {context.Address}: {(daemon.IsOwned ? "started a private" : "using the private")} one, state in {daemon.Root}\n");
        return new BuildConnection(await context.ConnectAsync(daemon.Address, cancellationToken), daemon);
    }
}
