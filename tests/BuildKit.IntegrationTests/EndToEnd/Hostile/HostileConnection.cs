using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;

namespace BuildKit.IntegrationTests.EndToEnd.Hostile;

/// <summary>Cases of kind <c>raw</c>: bytes written to the daemon's socket.</summary>
internal static class HostileConnection
{
    private const int Data = 0, Headers = 1, ResetStream = 3, GoAway = 7;
    private const int EndStream = 1;
    private const double ReadToTheEnd = 8;
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(1.3);
    private static readonly TimeSpan WritePatience = TimeSpan.FromSeconds(5);

    internal static async Task<HostileOutcome> RunAsync(HostileFixture fixture, JsonElement hostile)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(fixture.Daemon.Address["unix://".Length..]));
        var answer = new MemoryStream();
        var isClosed = false;
        foreach (var step in hostile.GetProperty("steps").EnumerateArray())
        {
            try
            {
                if (step.TryGetProperty("send_gz_b64", out var send))
                    await SendAsync(socket, HostileFixture.Unpack(send), step);
                if (step.TryGetProperty("read_s", out var seconds))
                    isClosed = await ReceiveAsync(socket, answer, seconds.GetDouble());
                if (step.TryGetProperty("close", out var close) && close.ValueKind != JsonValueKind.False)
                    socket.Close();
            }
            catch (SocketException)
            {
                // The daemon closed the connection while it was written to; what it said before counts.
                isClosed = true;
                break;
            }
        }
        return new HostileOutcome(Classify(answer.ToArray(), isClosed), "");
    }

    private static async Task SendAsync(Socket socket, byte[] bytes, JsonElement step)
    {
        if (step.TryGetProperty("byte_delay_ms", out var delay))
        {
            foreach (var b in bytes)
            {
                await socket.SendAsync(new[] { b });
                await Task.Delay(delay.GetInt32());
            }
            return;
        }
        var mayStall = step.TryGetProperty("no_block", out var stall) && stall.GetBoolean();
        using var patience = new CancellationTokenSource(mayStall ? WritePatience : Timeout.InfiniteTimeSpan);
        try
        {
            for (ReadOnlyMemory<byte> rest = bytes; rest.Length > 0;)
                rest = rest[await socket.SendAsync(rest, patience.Token)..];
        }
        catch (OperationCanceledException)
        {
            // The daemon does not read on, which is its right.
        }
    }

    /// <summary>Collects what arrives; whether the daemon closed the connection.</summary>
    private static async Task<bool> ReceiveAsync(Socket socket, MemoryStream answer, double seconds)
    {
        var buffer = new byte[64 << 10];
        var since = Stopwatch.StartNew();
        var limit = TimeSpan.FromSeconds(seconds);
        while (since.Elapsed < limit)
        {
            var wait = limit - since.Elapsed;
            if (seconds != ReadToTheEnd && answer.Length > 0 && wait > Quiet)
                wait = Quiet;
            using var patience = new CancellationTokenSource(wait);
            try
            {
                var count = await socket.ReceiveAsync(buffer, patience.Token);
                if (count == 0)
                    return true;
                answer.Write(buffer, 0, count);
            }
            catch (OperationCanceledException)
            {
                return false;
            }
        }
        return false;
    }

    private static string Classify(ReadOnlySpan<byte> bytes, bool isClosed)
    {
        var hasData = false;
        var isRefused = false;
        var hasEnded = false;
        while (bytes.Length >= 9)
        {
            var length = (bytes[0] << 16) | (bytes[1] << 8) | bytes[2];
            var type = bytes[3];
            hasData |= type == Data && length > 0;
            isRefused |= type is ResetStream or GoAway;
            hasEnded |= type is Data or Headers && (bytes[4] & EndStream) != 0;
            bytes = bytes[Math.Min(bytes.Length, 9 + length)..];
        }
        // An end without data is an error's status.
        return hasData && hasEnded ? "answered" : isRefused || hasEnded ? "refused" : isClosed ? "closed" : "open";
    }
}
