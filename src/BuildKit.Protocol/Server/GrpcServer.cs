using System.Net;
using System.Net.Security;
using BuildKit.Protocol.Grpc;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace BuildKit.Protocol.Server;

/// <summary>Where a server listens. Exactly one of the three ways is used.</summary>
/// <param name="EndPoint">A TCP end point or a unix socket's path
/// (<see cref="System.Net.Sockets.UnixDomainSocketEndPoint"/>).</param>
/// <param name="Handle">An already listening socket, as systemd passes it.</param>
/// <param name="Tls">Certificates and client verification; null is plain text.</param>
public sealed record GrpcListener(EndPoint? EndPoint = null, ulong? Handle = null, SslServerAuthenticationOptions? Tls = null);

/// <summary>
/// Serves <see cref="GrpcService"/>s over HTTP/2 with prior knowledge, on sockets or on a single stream, by
/// Kestrel without any hosting stack.
/// </summary>
public sealed class GrpcServer : IAsyncDisposable
{
    private readonly GrpcApplication _application;
    private readonly GrpcServerOptions _options;
    private KestrelServer? _kestrel;

    /// <summary>Makes a server; it does not listen before <see cref="StartAsync"/>.</summary>
    public GrpcServer(IEnumerable<GrpcService> services, GrpcServerOptions? options = null)
    {
        _options = options ?? new GrpcServerOptions();
        _application = new GrpcApplication(services, _options);
    }

    /// <summary>Listens on every given address. Throws <see cref="IOException"/> when one is in use.</summary>
    public async Task StartAsync(IReadOnlyList<GrpcListener> listeners, CancellationToken cancellationToken)
    {
        var kestrel = KestrelOptions(_options);
        foreach (var listener in listeners)
        {
            if (listener.Handle is { } handle)
                kestrel.ListenHandle(handle, o => Configure(o, listener.Tls));
            else if (listener.EndPoint is { } endPoint)
                kestrel.Listen(endPoint, o => Configure(o, listener.Tls));
            else
                throw new ArgumentException("a listener needs an end point or a handle", nameof(listeners));
        }

        var sockets = new SocketTransportFactory(
            Options.Create(new SocketTransportOptions { Backlog = 512 }), _options.Logging);
        _kestrel = new KestrelServer(Options.Create(kestrel), sockets, _options.Logging);
        await _kestrel.StartAsync(_application, cancellationToken);
    }

    /// <summary>Refuses new calls and lets running ones finish until the token fires, which ends them.</summary>
    public Task StopAsync(CancellationToken cancellationToken) =>
        _kestrel is null ? Task.CompletedTask : _kestrel.StopAsync(cancellationToken);

    /// <summary>
    /// Serves one connection over any duplex stream until either side closes it, or until the token fires:
    /// then running calls are aborted. The stream is disposed at the end.
    /// </summary>
    public static async Task ServeAsync(
        Stream stream, IEnumerable<GrpcService> services, GrpcServerOptions? options, CancellationToken cancellationToken)
    {
        options ??= new GrpcServerOptions();
        var kestrel = KestrelOptions(options);
        kestrel.Listen(StreamListenerFactory.Address, o => Configure(o, tls: null));
        await using var connection = new StreamConnection(stream);
        using var server = new KestrelServer(
            Options.Create(kestrel), new StreamListenerFactory(connection), options.Logging);
        await server.StartAsync(new GrpcApplication(services, options), CancellationToken.None);
        try
        {
            await connection.Ended.WaitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Asked to end; below the connection is told so.
        }

        await server.StopAsync(new CancellationToken(canceled: true));
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_kestrel is null)
            return;
        await _kestrel.StopAsync(new CancellationToken(canceled: true));
        _kestrel.Dispose();
    }

    private static KestrelServerOptions KestrelOptions(GrpcServerOptions options)
    {
        var kestrel = new KestrelServerOptions
        {
            AddServerHeader = false,
            // TLS ends in front of Kestrel, so it takes every connection for plain text while clients say https.
            AllowAlternateSchemes = true,
            ResponseHeaderEncodingSelector = _ => System.Text.Encoding.UTF8,
        };
        var limits = kestrel.Limits;
        // Not infinite: Kestrel adds to it and an overflow would end idle connections at once.
        limits.KeepAliveTimeout = TimeSpan.FromDays(365);
        limits.RequestHeadersTimeout = TimeSpan.FromMinutes(1);
        limits.MaxRequestBodySize = null;
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = null;
        limits.MaxRequestHeaderCount = 1 << 20;
        limits.MaxRequestHeadersTotalSize = options.MaxHeaderListSize;
        limits.MaxRequestBufferSize = Math.Max(1 << 20, options.MaxHeaderListSize);
        limits.MaxResponseBufferSize = 1 << 20;
        limits.Http2.MaxRequestHeaderFieldSize = options.MaxHeaderListSize;
        limits.Http2.MaxStreamsPerConnection = options.MaxStreamsPerConnection;
        limits.Http2.InitialConnectionWindowSize = 16 << 20;
        limits.Http2.InitialStreamWindowSize = 2 << 20;
        limits.Http2.MaxFrameSize = 128 << 10;
        return kestrel;
    }

    private static void Configure(ListenOptions listen, SslServerAuthenticationOptions? tls)
    {
        listen.Protocols = HttpProtocols.Http2;
        if (tls is null)
            return;
        listen.Use(next => connection => TlsMiddleware.RunAsync(connection, tls, next));
    }
}
