using System.Net.Sockets;
using System.Text;

namespace BuildKit.Daemon.Hosting;

/// <summary>Tells systemd of the daemon's state, where it asked to be told.</summary>
internal static class Systemd
{
    /// <summary>Sends one state line to the socket named by NOTIFY_SOCKET; a socket that is gone is not the daemon's concern.</summary>
    public static async Task NotifyAsync(string state)
    {
        var path = Environment.GetEnvironmentVariable("NOTIFY_SOCKET");
        if (string.IsNullOrEmpty(path))
            return;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            var address = path[0] == '@' ? "\0" + path[1..] : path;
            await socket.SendToAsync(Encoding.ASCII.GetBytes(state), new UnixDomainSocketEndPoint(address));
        }
        catch (SocketException exception)
        {
            await Console.Error.WriteLineAsync($"buildkitd: NOTIFY_SOCKET {path}: {exception.Message}");
        }
    }
}
