using System.Threading.Channels;
using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Progress;

/// <summary>Feeds a display: messages as they come, and a refresh after each while without one.</summary>
internal static class DisplayLoop
{
    /// <summary>Runs until the messages end; then the display shows its final state.</summary>
    public static async Task RunAsync(ChannelReader<StatusResponse> messages, IProgressDisplay display, TimeSpan tick, TimeProvider time)
    {
        var arrival = messages.WaitToReadAsync().AsTask();
        while (true)
        {
            try
            {
                if (!await arrival.WaitAsync(tick, time))
                    break;
            }
            catch (TimeoutException)
            {
                display.Refresh();
                continue;
            }
            while (messages.TryRead(out var message))
                display.Update(message);
            arrival = messages.WaitToReadAsync().AsTask();
        }
        display.Finish();
    }
}
