using BuildKit.Protocol.Grpc;

namespace BuildKit.Cli.Text;

/// <summary>Texts of errors that came over the wire (spec 08 §1.1).</summary>
internal static class ErrorText
{
    /// <summary>An answer's text; codes that say something stand before it.</summary>
    public static string Of(RpcException answer) =>
        answer.Code is StatusCode.OK or StatusCode.Unknown ? answer.Message : $"{Name(answer.Code)}: {answer.Message}";

    /// <summary>The form in which errors of streams are shown.</summary>
    public static string Raw(RpcException answer) => $"rpc error: code = {Name(answer.Code)} desc = {answer.Message}";

    /// <summary>What can be done about a daemon that is not reached; null when there is nothing to say.</summary>
    public static string? Hint(Exception? failure, string address)
    {
        if (failure is not RpcException { Code: StatusCode.Unavailable } answer || !answer.Message.Contains("dialing", StringComparison.Ordinal))
            return null;
        if (answer.Message.Contains("permission denied", StringComparison.Ordinal))
            return $"your user may not open {address}: join the group that owns the socket, or use sudo";
        if (address.StartsWith("unix://", StringComparison.Ordinal))
            return $"no daemon listens at {address}: start buildkitd, or name a running one with --addr or BUILDKIT_HOST";
        return $"check that buildkitd listens at {address} and can be reached from here";
    }

    private static string Name(StatusCode code) => code switch
    {
        StatusCode.Cancelled => "Canceled",
        StatusCode.OK => "OK",
        _ => code.ToString(),
    };
}
