using System.Net.Sockets;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Client;

/// <summary>Failures of connecting, in the words clients of the daemon are used to (spec 08 §5.2).</summary>
internal static class DialErrors
{
    /// <summary>The error of a connection that could not be made.</summary>
    public static RpcException Dialing(string network, string address, Exception failure) =>
        Unavailable($"transport: Error while dialing: dial {network} {address}: {Call(failure)}{Reason(failure)}", failure);

    /// <summary>The error of a connection whose TLS handshake failed.</summary>
    public static RpcException Handshake(Exception failure) =>
        Unavailable($"transport: authentication handshake failed: {failure.InnerException?.Message ?? failure.Message}", failure);

    /// <summary>An error of the connection as a whole.</summary>
    public static RpcException Unavailable(string detail, Exception? failure = null) =>
        new(StatusCode.Unavailable, $"connection error: desc = \"{detail}\"", failure);

    /// <summary>What the system said, in the system's words.</summary>
    public static string Reason(Exception failure) => failure switch
    {
        SocketException { SocketErrorCode: SocketError.ConnectionRefused } => "connection refused",
        SocketException { SocketErrorCode: SocketError.AddressNotAvailable } => "no such file or directory",
        SocketException { SocketErrorCode: SocketError.AccessDenied } => "permission denied",
        SocketException { SocketErrorCode: SocketError.TimedOut } => "i/o timeout",
        SocketException { SocketErrorCode: SocketError.HostNotFound } => "no such host",
        SocketException { SocketErrorCode: SocketError.NetworkUnreachable } => "network is unreachable",
        SocketException { SocketErrorCode: SocketError.HostUnreachable } => "no route to host",
        SocketException { NativeErrorCode: 2 } => "no such file or directory",
        FileNotFoundException or DirectoryNotFoundException => "no such file or directory",
        UnauthorizedAccessException => "permission denied",
        OperationCanceledException => "i/o timeout",
        _ => failure.Message,
    };

    private static string Call(Exception failure) =>
        failure is OperationCanceledException or SocketException { SocketErrorCode: SocketError.HostNotFound } ? "" : "connect: ";
}
