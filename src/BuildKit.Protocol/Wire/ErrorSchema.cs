using static BuildKit.Protocol.Wire.WireField;

namespace BuildKit.Protocol.Wire;

/// <summary>Shapes of the error details that are not in package <c>pb</c> (spec 01 §1.10).</summary>
internal static class ErrorSchema
{
    public static readonly WireMessage Vertex = new(String(1, "digest"));

    public static readonly WireMessage Source = new(
        Message(1, "info", () => PbSchema.SourceInfo), Message(2, "ranges", () => PbSchema.Range).Many);

    public static readonly WireMessage Named = new(String(1, "name"));

    public static readonly WireMessage Frame = new(String(1, "Name"), String(2, "File"), Int32(3, "Line"));

    public static readonly WireMessage Stack = new(
        Message(1, "frames", () => Frame).Many,
        String(2, "cmdline").Many,
        Int32(3, "pid"),
        String(4, "version"),
        String(5, "revision"));

    // The Error of an exit is the error the detail hangs on, so only the code is sent.
    public static readonly WireMessage Exit = new(UInt32(1, "Code"));
}
