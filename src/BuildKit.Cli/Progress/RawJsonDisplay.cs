using BuildKit.Protocol.Control;

namespace BuildKit.Cli.Progress;

/// <summary>One JSON object per status message (spec 08 §4.8).</summary>
internal sealed class RawJsonDisplay(Stream output) : IProgressDisplay
{
    public void Update(StatusResponse message)
    {
        output.Write(StatusJson.Line(message));
        output.Flush();
    }

    public void Refresh()
    {
    }

    public void Finish()
    {
    }
}

/// <summary>Shows nothing.</summary>
internal sealed class QuietDisplay : IProgressDisplay
{
    public void Update(StatusResponse message)
    {
    }

    public void Refresh()
    {
    }

    public void Finish()
    {
    }
}
