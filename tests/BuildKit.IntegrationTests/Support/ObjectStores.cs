using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace BuildKit.IntegrationTests.Support;

/// <summary>An object store of its own for tests, on a free loopback port; its data goes with it.</summary>
public sealed class ObjectStore : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _directory;
    private readonly StringBuilder _output = new();

    private ObjectStore(string program, Func<int, string, string[]> arguments)
    {
        _directory = Directory.CreateTempSubdirectory("store-").FullName;
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        Host = $"127.0.0.1:{port}";
        _process = Programs.Start(Requirement.Locate(program)!, arguments(port, _directory), workingDirectory: _directory);
        _process.OutputDataReceived += (_, line) => Append(line.Data);
        _process.ErrorDataReceived += (_, line) => Append(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <summary>Host and port.</summary>
    public string Host { get; }

    /// <summary>Starts an S3 server with the bucket <c>bkt</c>; access and secret key are <c>S3RVER</c>.</summary>
    public static Task<ObjectStore> StartS3Async() => StartAsync(new ObjectStore("s3rver", (port, directory) =>
        ["--address", "127.0.0.1", "--port", port.ToString(System.Globalization.CultureInfo.InvariantCulture), "--directory", directory, "--configure-bucket", "bkt", "--no-vhost-buckets"]));

    /// <summary>Account of the blob server.</summary>
    public const string AzureAccount = "devstoreaccount1";

    /// <summary>Key of that account; the same well-known one everywhere.</summary>
    public const string AzureKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// <summary>Starts a blob server without containers.</summary>
    public static Task<ObjectStore> StartAzureAsync() => StartAsync(new ObjectStore("azurite-blob", (port, directory) =>
        ["--blobHost", "127.0.0.1", "--blobPort", port.ToString(System.Globalization.CultureInfo.InvariantCulture), "--location", directory, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]));

    /// <summary>The objects of the S3 server's bucket whose key begins so, by the rest of their keys.</summary>
    public IReadOnlyDictionary<string, byte[]> ReadObjects(string prefix)
    {
        const string suffix = "._S3rver_object";
        var bucket = Path.Combine(_directory, "bkt");
        return Directory.EnumerateFiles(bucket, "*" + suffix, SearchOption.AllDirectories)
            .Select(file => (File: file, Key: Path.GetRelativePath(bucket, file)[..^suffix.Length]))
            .Where(o => o.Key.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(o => o.Key[prefix.Length..], o => File.ReadAllBytes(o.File), StringComparer.Ordinal);
    }

    /// <summary>Removes the files below the server's data whose path ends so.</summary>
    public void RemoveFiles(Func<string, bool> where)
    {
        foreach (var file in Directory.EnumerateFiles(_directory, "*", SearchOption.AllDirectories).Where(where).ToList())
            File.Delete(file);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }
        _process.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private static async Task<ObjectStore> StartAsync(ObjectStore store)
    {
        using var client = new HttpClient();
        var since = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                using var answer = await client.GetAsync($"http://{store.Host}/");
                return store;
            }
            catch (HttpRequestException) when (!store._process.HasExited && since.Elapsed < TimeSpan.FromSeconds(60))
            {
                await Task.Delay(50);
            }
            catch (HttpRequestException)
            {
                var output = store._output.ToString();
                await store.DisposeAsync();
                throw new InvalidOperationException($"the store does not answer: {output}");
            }
        }
    }

    private void Append(string? line)
    {
        lock (_output)
            _output.AppendLine(line);
    }
}
