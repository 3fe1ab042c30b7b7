using BuildKit.Linux;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Protocol.Ssh;
using Google.Protobuf;

namespace BuildKit.Session.Ssh;

/// <summary>What an ssh id of a build stands for.</summary>
/// <param name="Id">The id; empty means <c>default</c>.</param>
/// <param name="Paths">One agent socket, or private key files; none means <c>$SSH_AUTH_SOCK</c>.</param>
public sealed record SshAgentSource(string Id, IReadOnlyList<string> Paths);

/// <summary>The client's end of <c>moby.sshforward.v1.SSH</c> (spec 01 §5.9, 08 §2.6).</summary>
public static class SshAgentProvider
{
    private const string DefaultId = "default";
    private const string IdHeader = "buildkit.ssh.id";
    private const int MaxKeyFile = 100 << 10;

    /// <summary>Makes the service; sockets are looked at and key files read now.</summary>
    /// <exception cref="SshSourceException">A source cannot be used; the text is the one of spec 08 §2.6.</exception>
    public static GrpcService Create(IEnumerable<SshAgentSource> sources)
    {
        var agents = new Dictionary<string, SshAgent>(StringComparer.Ordinal);
        foreach (var source in sources)
        {
            var id = source.Id.Length == 0 ? DefaultId : source.Id;
            if (!agents.TryAdd(id, Open(source.Paths)))
                throw new SshSourceException($"invalid duplicate ID {id}");
        }
        return new GrpcService()
            .Unary(SshMethods.CheckAgent, (request, _) => Task.FromResult(Check(agents, request)))
            .Stream(SshMethods.ForwardAgent, stream => ForwardAsync(agents, stream));
    }

    private static SshAgent Open(IReadOnlyList<string> paths)
    {
        if (paths.Count == 0)
        {
            paths = [Environment.GetEnvironmentVariable("SSH_AUTH_SOCK") ?? ""];
            if (paths[0].Length == 0)
                throw new SshSourceException("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
        }
        string? socket = null;
        var keys = new List<SshKey>();
        foreach (var path in paths)
        {
            if (!File.Exists(path) && !Directory.Exists(path))
                throw new SshSourceException($"stat {path}: no such file or directory");
            if (LinuxFile.Stat(Path.GetFullPath(path)).Type == UnixMode.Socket)
            {
                if (socket is not null)
                    throw new SshSourceException("only single socket allowed");
                socket = path;
            }
            else
            {
                keys.Add(ReadKey(path));
            }
        }
        if (socket is not null && keys.Count > 0)
            throw new SshSourceException("invalid combination of keys and sockets");
        return socket is null ? new SshAgent(keys) : new SshAgent(socket);
    }

    private static SshKey ReadKey(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            var buffer = new byte[MaxKeyFile];
            var length = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            return SshKey.Parse(buffer.AsSpan(0, length), Path.GetFileName(path));
        }
        catch (Exception failure) when (failure is InvalidDataException or FormatException or IOException or UnauthorizedAccessException)
        {
            throw new SshSourceException($"failed to parse {path}: {failure.Message}");
        }
    }

    private static CheckAgentResponse Check(Dictionary<string, SshAgent> agents, CheckAgentRequest request)
    {
        var id = request.ID.Length == 0 ? DefaultId : request.ID;
        return agents.ContainsKey(id) ? new CheckAgentResponse() : throw new RpcException(StatusCode.Unknown, $"unset ssh forward key {id}");
    }

    private static async Task ForwardAsync(Dictionary<string, SshAgent> agents, ServerStream<BytesMessage, BytesMessage> stream)
    {
        var id = stream.RequestHeaders.Get(IdHeader) is { Length: > 0 } given ? given : DefaultId;
        if (!agents.TryGetValue(id, out var agent))
            throw new RpcException(StatusCode.Unknown, $"unset ssh forward key {id}");
        await using var requests = new MessageReadStream(
            async token => (await stream.ReadAsync(token))?.Data.Memory, static () => ValueTask.CompletedTask);
        try
        {
            await agent.ServeAsync(
                requests,
                answer => stream.SendAsync(new BytesMessage { Data = UnsafeByteOperations.UnsafeWrap(answer) }, stream.CancellationToken),
                stream.CancellationToken);
        }
        catch (Exception failure) when (failure is InvalidDataException or IOException or System.Net.Sockets.SocketException)
        {
            throw new RpcException(StatusCode.Unknown, failure.Message, failure);
        }
    }
}

/// <summary>An ssh source cannot be offered as it was described.</summary>
public sealed class SshSourceException(string message) : Exception(message);
