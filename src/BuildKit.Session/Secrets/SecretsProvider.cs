using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Secrets;
using BuildKit.Protocol.Services;
using Google.Protobuf;

namespace BuildKit.Session.Secrets;

/// <summary>Where the value of a secret comes from.</summary>
public sealed record SecretSource
{
    private SecretSource()
    {
    }

    internal string? FilePath { get; private init; }

    internal string? Variable { get; private init; }

    internal byte[]? Bytes { get; private init; }

    /// <summary>A file, which must exist now and is read when the secret is asked for.</summary>
    public static SecretSource FromFile(string path) => new() { FilePath = path };

    /// <summary>An environment variable, read when the secret is asked for; an unset one is empty.</summary>
    public static SecretSource FromEnvironment(string variable) => new() { Variable = variable };

    /// <summary>A value.</summary>
    public static SecretSource FromBytes(byte[] value) => new() { Bytes = value };

    /// <summary>What <c>--secret</c> means without a source (spec 08 §2.5): the variable named like the id if there is one, else that file.</summary>
    public static SecretSource FromId(string id) =>
        Environment.GetEnvironmentVariable(id) is null ? FromFile(id) : FromEnvironment(id);
}

/// <summary>The client's end of <c>moby.buildkit.secrets.v1.Secrets</c> (spec 01 §5.9).</summary>
public static class SecretsProvider
{
    /// <summary>Greatest size of a secret in bytes.</summary>
    public const int MaxSize = 500 << 10;

    /// <summary>Makes the service. Files are looked at now (spec 08 §2.5).</summary>
    /// <exception cref="SecretSourceException">A source without id, a missing or too large file.</exception>
    public static GrpcService Create(IReadOnlyDictionary<string, SecretSource> secrets)
    {
        foreach (var (id, source) in secrets)
            Check(id, source);
        return new GrpcService().Unary(SecretsMethods.GetSecret, (request, context) => GetAsync(secrets, request.ID, context.CancellationToken));
    }

    private static void Check(string id, SecretSource source)
    {
        if (id.Length == 0)
            throw new SecretSourceException("secret missing ID");
        if (source.Bytes is { Length: > MaxSize })
            throw new SecretSourceException($"secret {id} too big. max size 500KiB");
        if (source.FilePath is not { } path)
            return;
        var file = new FileInfo(path);
        if (!file.Exists && !Directory.Exists(path))
            throw new SecretSourceException($"failed to stat {path}: stat {path}: no such file or directory");
        if (file.Exists && file.Length > MaxSize)
            throw new SecretSourceException($"secret {id} too big. max size 500KiB");
    }

    private static async Task<GetSecretResponse> GetAsync(IReadOnlyDictionary<string, SecretSource> secrets, string id, CancellationToken cancellationToken)
    {
        if (!secrets.TryGetValue(id, out var source))
            throw new RpcException(StatusCode.NotFound, $"secret {id}: not found");
        return new GetSecretResponse { Data = await ReadAsync(source, cancellationToken) };
    }

    private static async Task<ByteString> ReadAsync(SecretSource source, CancellationToken cancellationToken)
    {
        if (source.Bytes is { } bytes)
            return ByteString.CopyFrom(bytes);
        if (source.Variable is { } variable)
            return ByteString.CopyFromUtf8(Environment.GetEnvironmentVariable(variable) ?? "");
        try
        {
            return UnsafeByteOperations.UnsafeWrap(await File.ReadAllBytesAsync(source.FilePath!, cancellationToken));
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new RpcException(StatusCode.Unknown, $"failed to read secret file {source.FilePath}: {failure.Message}", failure);
        }
    }
}

/// <summary>A secret cannot be offered as it was described.</summary>
public sealed class SecretSourceException(string message) : Exception(message);
