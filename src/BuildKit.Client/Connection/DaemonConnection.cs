using System.Globalization;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Services;

namespace BuildKit.Client;

/// <summary>Opens connections to a daemon by its address.</summary>
public static class DaemonConnection
{
    private const int DefaultPort = 80;

    /// <summary>Connects and starts HTTP/2. The caller disposes the channel.</summary>
    /// <param name="address">One of the forms of spec 08 §5.1.</param>
    /// <param name="tls">Files and name for TLS; used with <c>tcp://</c> only.</param>
    /// <param name="cancellationToken">Gives up connecting.</param>
    /// <exception cref="RpcException"><see cref="StatusCode.Unavailable"/>: nobody there, or no valid certificate.</exception>
    /// <exception cref="ClientException">The address or a TLS file cannot be used.</exception>
    public static async Task<IGrpcChannel> ConnectAsync(string address, TlsOptions tls, CancellationToken cancellationToken)
    {
        var parsed = DaemonAddress.Parse(address);
        if (parsed.Scheme == "npipe")
            throw new ClientException("npipe connections are only supported on windows");
        var options = new Http2ConnectionOptions { Authority = Authority(parsed, tls) };
        if (HelperCommand.For(parsed) is { } command)
            return Http2Connection.Start(HelperStream.Start(command), options);
        if (parsed.Scheme == "unix")
            return Http2Connection.Start(await ConnectUnixAsync(parsed.Rest, cancellationToken), options);
        if (parsed.Scheme != "tcp")
            throw DialErrors.Unavailable($"transport: Error while dialing: dial {(parsed.Scheme.Length > 0 ? parsed.Scheme : "tcp")}: address {parsed.Rest}: use unix://PATH or tcp://HOST:PORT");
        var stream = await ConnectTcpAsync(parsed, cancellationToken);
        return tls.IsEnabled
            ? Http2Connection.Start(await EncryptAsync(stream, tls.Load(parsed.HostName), cancellationToken), options with { Scheme = "https" })
            : Http2Connection.Start(stream, options);
    }

    /// <summary>Asks for the daemon's version every second until it answers or the token fires.</summary>
    /// <param name="connect">Opens a connection; called again after every failure.</param>
    /// <param name="time">Clock of the pauses.</param>
    /// <param name="cancellationToken">Bounds the waiting.</param>
    public static async Task<IGrpcChannel> WaitAsync(Func<CancellationToken, Task<IGrpcChannel>> connect, TimeProvider time, CancellationToken cancellationToken)
    {
        while (true)
        {
            IGrpcChannel? channel = null;
            try
            {
                channel = await connect(cancellationToken);
                await channel.UnaryAsync(ControlMethods.Info, new InfoRequest(), default, cancellationToken);
                return channel;
            }
            catch (RpcException answer) when (answer.Code == StatusCode.Unimplemented && channel is not null)
            {
                return channel;
            }
            catch (RpcException answer) when (answer.Code == StatusCode.Unavailable)
            {
                if (channel is not null)
                    await channel.DisposeAsync();
            }
            await Task.Delay(TimeSpan.FromSeconds(1), time, cancellationToken);
        }
    }

    private static string Authority(DaemonAddress address, TlsOptions tls)
    {
        if (tls.ServerName.Length > 0)
            return tls.ServerName;
        var host = address.Host;
        return host.Length > 0 ? host : "localhost";
    }

    private static async Task<Stream> ConnectUnixAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception failure) when (failure is SocketException or OperationCanceledException or ArgumentException)
        {
            socket.Dispose();
            cancellationToken.ThrowIfCancellationRequested();
            throw DialErrors.Dialing("unix", path, failure);
        }
    }

    private static async Task<Stream> ConnectTcpAsync(DaemonAddress address, CancellationToken cancellationToken)
    {
        var name = address.HostName;
        var colon = address.Host.LastIndexOf(':');
        var port = colon >= 0 && int.TryParse(address.Host[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : DefaultPort;
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(name, port, cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception failure) when (failure is SocketException or OperationCanceledException or ArgumentException)
        {
            socket.Dispose();
            cancellationToken.ThrowIfCancellationRequested();
            throw DialErrors.Dialing("tcp", address.Host, failure);
        }
    }

    private static async Task<Stream> EncryptAsync(Stream stream, SslClientAuthenticationOptions options, CancellationToken cancellationToken)
    {
        var encrypted = new SslStream(stream);
        try
        {
            await encrypted.AuthenticateAsClientAsync(options, cancellationToken);
            return encrypted;
        }
        catch (Exception failure) when (failure is AuthenticationException or IOException)
        {
            await encrypted.DisposeAsync();
            throw DialErrors.Handshake(failure);
        }
    }
}
