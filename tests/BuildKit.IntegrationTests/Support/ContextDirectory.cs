using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A build context under construction, removed at the end of the test.</summary>
public sealed class ContextDirectory : IDisposable
{
    public ContextDirectory(string? dockerfile = null)
    {
        Path = Directory.CreateTempSubdirectory("context-").FullName;
        if (dockerfile is not null)
            Write("Dockerfile", dockerfile);
    }

    public string Path { get; }

    /// <summary>Full path of a file of the context.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>Writes a file; its directories are made.</summary>
    public ContextDirectory Write(string name, string text)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(this[name])!);
        File.WriteAllText(this[name], text);
        return this;
    }

    /// <summary>As <see cref="Write(string, string)"/>, for bytes.</summary>
    public ContextDirectory Write(string name, byte[] bytes)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(this[name])!);
        File.WriteAllBytes(this[name], bytes);
        return this;
    }

    public void Dispose() => LinuxDirectory.RemoveTree(Path);
}
