using System.Globalization;
using System.Text;
using Google.Protobuf;
using RpcStatus = BuildKit.Protocol.Rpc.Status;

namespace BuildKit.Protocol.Grpc;

/// <summary>The trailers that carry the outcome of a call (spec 01 §3.2).</summary>
public static class GrpcStatus
{
    /// <summary>The trailer with the code.</summary>
    public const string StatusKey = "grpc-status";

    /// <summary>The trailer with the percent-encoded text.</summary>
    public const string MessageKey = "grpc-message";

    /// <summary>The trailer with the base64 of a <c>google.rpc.Status</c>.</summary>
    public const string DetailsKey = "grpc-status-details-bin";

    /// <summary>Adds the trailers that say how a call ended; null is success.</summary>
    public static void Write(RpcException? error, Action<string, string> addTrailer)
    {
        addTrailer(StatusKey, ((int)(error?.Code ?? StatusCode.OK)).ToString(CultureInfo.InvariantCulture));
        if (error is null)
            return;
        if (error.Message.Length > 0)
            addTrailer(MessageKey, EncodeMessage(error.Message));
        if (error.Details.Count > 0)
            addTrailer(DetailsKey, Convert.ToBase64String(ToStatus(error).ToByteArray()).TrimEnd('='));
    }

    /// <summary>Reads the outcome out of trailers.</summary>
    /// <returns>Null when the call succeeded.</returns>
    public static RpcException? Read(Metadata trailers)
    {
        var text = trailers.Get(StatusKey);
        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var code))
            return new RpcException(
                StatusCode.Internal,
                text is null ? "server closed the stream without sending trailers" : $"malformed grpc-status: \"{text}\"");
        if (code == 0)
            return null;
        var status = code is > 0 and <= 16 ? (StatusCode)code : StatusCode.Unknown;
        var message = DecodeMessage(trailers.Get(MessageKey) ?? "");
        return trailers.Get(DetailsKey) is { } encoded && TryDecodeDetails(encoded, out var details)
            ? new RpcException(status, message, [.. details.Details])
            : new RpcException(status, message);
    }

    /// <summary>The error as a message, the form it has inside other messages.</summary>
    public static RpcStatus ToStatus(RpcException error)
    {
        var status = new RpcStatus { Code = (int)error.Code, Message = error.Message };
        status.Details.AddRange(error.Details);
        return status;
    }

    /// <summary>The error a status message describes.</summary>
    public static RpcException FromStatus(RpcStatus status) =>
        new((StatusCode)status.Code, status.Message, [.. status.Details]);

    /// <summary>Percent-encodes bytes outside 0x20–0x7E and the percent sign.</summary>
    public static string EncodeMessage(string message)
    {
        var bytes = Encoding.UTF8.GetBytes(message);
        var output = new StringBuilder(bytes.Length);
        foreach (var b in bytes)
        {
            if (b is >= 0x20 and <= 0x7e && b != (byte)'%')
                output.Append((char)b);
            else
                output.Append('%').Append(b.ToString("X2", CultureInfo.InvariantCulture));
        }

        return output.ToString();
    }

    /// <summary>Undoes <see cref="EncodeMessage"/>; malformed escapes stay as they are.</summary>
    public static string DecodeMessage(string message)
    {
        if (!message.Contains('%', StringComparison.Ordinal))
            return message;
        var input = Encoding.UTF8.GetBytes(message);
        var output = new byte[input.Length];
        var length = 0;
        for (var i = 0; i < input.Length; i++)
        {
            if (input[i] == '%' && i + 2 < input.Length
                && char.IsAsciiHexDigit((char)input[i + 1]) && char.IsAsciiHexDigit((char)input[i + 2]))
            {
                output[length++] = byte.Parse(
                    input.AsSpan(i + 1, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
                i += 2;
            }
            else
            {
                output[length++] = input[i];
            }
        }

        return Encoding.UTF8.GetString(output, 0, length);
    }

    private static bool TryDecodeDetails(string base64, out RpcStatus status)
    {
        status = new RpcStatus();
        var trimmed = base64.TrimEnd('=');
        var buffer = new byte[(trimmed.Length * 3 / 4) + 3];
        if (!Convert.TryFromBase64String(trimmed.PadRight((trimmed.Length + 3) / 4 * 4, '='), buffer, out var length))
            return false;
        try
        {
            status = RpcStatus.Parser.ParseFrom(buffer, 0, length);
            return true;
        }
        catch (InvalidProtocolBufferException)
        {
            // A receiver that cannot read the details still has code and text (spec 01 §3.3).
            return false;
        }
    }
}
