using BuildKit.Cli.Values;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Tools;
using BuildKit.Session.Auth;
using BuildKit.Solver;
using BuildKit.CommandLine;
using RegistryToken = BuildKit.Registry.Auth.RegistryToken;

namespace BuildKit.Cli.Commands.Cache;

/// <summary>What one cache command works with: connections of its own, credentials of the user.</summary>
internal sealed class CacheSession : IDisposable
{
    private readonly RegistryClient _registry;

    private CacheSession(CommandContext context)
    {
        _registry = new RegistryClient(new RegistryConfig(), context.Time);
        Progress = new CacheProgress(new LayerLines(context), context.Time);
        Tools = new CacheTools(CacheBackendRegistry.WithBuiltIns(), new CacheBackendContext
        {
            Registry = _registry,
            Credentials = new DockerCredentials(DockerConfig.Load(DockerConfig.DefaultDirectory, message => context.Log.Warn(message))),
            OpenClientStore = static (_, _) => Task.FromResult<IClientContentStore?>(null),
            Time = context.Time,
            Environment = context.Variable,
        });
    }

    /// <summary>The tools.</summary>
    public CacheTools Tools { get; }

    /// <summary>Shows layers being written.</summary>
    public CacheProgress Progress { get; }

    /// <summary>Runs a command and puts what failed into words.</summary>
    public static async Task RunAsync(CommandContext context, Func<CacheSession, Task> command)
    {
        using var session = new CacheSession(context);
        try
        {
            await command(session);
        }
        catch (Exception failure) when (failure is RemoteCacheException or FormatException or IOException or UnauthorizedAccessException or RegistryException or CredentialHelperException)
        {
            throw new CommandException(failure.Message, failure);
        }
        catch (OperationCanceledException failure)
        {
            throw new CommandException("context canceled", failure);
        }
    }

    /// <summary>A cache among the arguments.</summary>
    /// <param name="context">The command's context.</param>
    /// <param name="flags">The arguments.</param>
    /// <param name="index">Which of them.</param>
    /// <param name="count">How many there must be.</param>
    /// <param name="names">What they are called in the error.</param>
    public static CacheLocation Location(CommandContext context, FlagValues flags, int index, int count, string names)
    {
        if (flags.Positional.Count != count)
            throw new CommandException($"{names} must be given, as after --import-cache: type=registry,ref=…");
        var text = flags.Positional[index];
        if (!text.Contains("type=", StringComparison.Ordinal))
            text = $"type=registry,ref={text}";
        var request = CacheValue.ParseImport(text, context.Variable, message => context.Log.Warn(message));
        return new CacheLocation(request.Type, request.Attributes);
    }

    public void Dispose() => _registry.Dispose();

    /// <summary>Credentials as docker keeps them. Tokens are fetched with them directly.</summary>
    private sealed class DockerCredentials(DockerConfig config) : IRegistryCredentials
    {
        public string SessionId => "buildctl";

        public async ValueTask<RegistryCredential> GetCredentialAsync(string host, CancellationToken cancellationToken)
        {
            var found = await config.FindAsync(host, cancellationToken);
            return new RegistryCredential(found.Username, found.Secret);
        }

        public ValueTask<byte[]?> GetTokenAuthorityAsync(string host, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken) => ValueTask.FromResult<byte[]?>(null);

        public ValueTask<bool> VerifyTokenAuthorityAsync(string host, ReadOnlyMemory<byte> publicKey, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken) => ValueTask.FromResult(false);

        public ValueTask<RegistryToken> FetchTokenAsync(RegistryTokenRequest request, CancellationToken cancellationToken) =>
            throw new RegistryAuthorizationException($"no token authority for {request.Host}");
    }

    /// <summary>A line on standard error for each layer and document that was written.</summary>
    private sealed class LayerLines(CommandContext context) : IProgressWriter
    {
        private readonly Lock _gate = new();

        public void Write(VertexStatusUpdate update)
        {
        }

        public void Write(ProgressStatus status)
        {
            if (status.Completed is null || !status.Id.StartsWith("writing ", StringComparison.Ordinal))
                return;
            lock (_gate)
                context.PrintError(status.Id + "\n");
        }

        public void Write(ProgressLog log)
        {
            lock (_gate)
                context.ErrorOutput.Write(log.Data.Span);
        }

        public void Write(ProgressWarning warning)
        {
        }
    }
}
