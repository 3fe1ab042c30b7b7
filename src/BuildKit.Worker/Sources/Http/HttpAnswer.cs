using System.Net;

namespace BuildKit.Worker.Sources.Http;

/// <summary>What a server, or a client's upload, answered. The body is read once; dispose in any case.</summary>
internal sealed class HttpAnswer(int status, Func<string, string> header, Stream body, Func<ValueTask> release) : IAsyncDisposable
{
    /// <summary>Status code.</summary>
    public int Status => status;

    /// <summary>Whether the file has not changed.</summary>
    public bool IsNotModified => status == (int)HttpStatusCode.NotModified;

    /// <summary>The entity tag without its mark for weak ones; empty for none.</summary>
    public string ETag => Strong(header("ETag"));

    /// <summary>The Last-Modified header as it came; empty for none.</summary>
    public string LastModified => header("Last-Modified");

    /// <summary>The Content-Disposition header as it came; empty for none.</summary>
    public string Disposition => header("Content-Disposition");

    /// <summary>The body, decompressed if it was compressed for the transfer.</summary>
    public Stream Body => body;

    /// <exception cref="InvalidOperationException">There is no file in the answer.</exception>
    public void CheckStatus()
    {
        if (status is < 200 or >= 400)
            throw new InvalidOperationException($"invalid response status {status}");
    }

    public ValueTask DisposeAsync() => release();

    private static string Strong(string tag) => tag.StartsWith("W/", StringComparison.Ordinal) ? tag[2..] : tag;
}
