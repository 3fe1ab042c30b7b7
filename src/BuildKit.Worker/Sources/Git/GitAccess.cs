using System.Text;
using BuildKit.Linux;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.Secrets;
using BuildKit.Solver;
using BuildKit.Worker.Sessions;

namespace BuildKit.Worker.Sources.Git;

/// <summary>What a client lends for one use of its repository: a header, an agent, known hosts. Given back when disposed.</summary>
internal sealed class GitAccess : IAsyncDisposable
{
    private const uint AgentMode = 0x1C0; // 0700
    private readonly string _directory;
    private IForwardedSocket? _agent;

    private GitAccess(GitCommand command, string directory)
    {
        Command = command;
        _directory = directory;
    }

    /// <summary>A command outside of any repository, with everything lent.</summary>
    public GitCommand Command { get; private set; }

    /// <summary>A directory for files of this use.</summary>
    public string Directory => _directory;

    /// <summary>Asks the clients of the build for what the source needs.</summary>
    /// <exception cref="SshAgentNotFoundException">The agent is not forwarded.</exception>
    public static async Task<GitAccess> OpenAsync(
        GitAttributes source, IClientSessions sessions, IStepSessions steps, string temporaryDirectory, IOperationContext context, CancellationToken cancellationToken)
    {
        var directory = Path.Combine(temporaryDirectory, "git-" + Path.GetRandomFileName());
        LinuxFile.Mkdir(directory, AgentMode);
        var empty = Path.Combine(directory, "none");
        LinuxFile.Mkdir(empty, AgentMode);
        var access = new GitAccess(new GitCommand { GitDir = empty, Progress = context.Progress }, directory);
        try
        {
            if (await HeaderAsync(source, sessions, context.SessionIds, cancellationToken) is { } header)
                access.Command = access.Command with { Settings = [($"http.{ScopeOf(source.Url)}.extraheader", "Authorization: " + header)] };
            if (source.SshAgentId.Length > 0)
            {
                access._agent = await steps.ForwardSshAgentAsync(
                    context.SessionIds, source.SshAgentId, LinuxProcess.EffectiveUserId, LinuxProcess.EffectiveGroupId, AgentMode, cancellationToken);
                access.Command = access.Command with { AgentSocket = access._agent.Path };
            }
            if (source.KnownSshHosts.Length > 0)
            {
                var file = Path.Combine(directory, "known_hosts");
                await File.WriteAllTextAsync(file, source.KnownSshHosts, cancellationToken);
                access.Command = access.Command with { KnownHostsFile = file };
            }
            return access;
        }
        catch
        {
            await access.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_agent is not null)
            await _agent.DisposeAsync();
        LinuxDirectory.RemoveTree(_directory);
    }

    /// <summary>
    /// The Authorization header of the first client that has one of the secrets: for this host before any host, a header
    /// before a token. None is no error: the repository may be public.
    /// </summary>
    private static async Task<string?> HeaderAsync(
        GitAttributes source, IClientSessions sessions, IEnumerable<string> sessionIds, CancellationToken cancellationToken)
    {
        var host = source.Remote.Host;
        (string Id, bool IsToken)[] wanted =
        [
            (Named(source.AuthHeaderSecret, host), false), (Named(source.AuthTokenSecret, host), true),
            (source.AuthHeaderSecret, false), (source.AuthTokenSecret, true),
        ];
        foreach (var sessionId in sessionIds)
        {
            try
            {
                var session = await sessions.GetAsync(sessionId, cancellationToken);
                foreach (var (id, isToken) in wanted)
                {
                    if (id.Length > 0 && await SecretsClient.GetAsync(session.Channel, id, cancellationToken) is { } value)
                        return Header(id, value, isToken);
                }
            }
            catch (RpcException)
            {
                // That client is gone, or cannot tell: another one may, else the server says what it thinks of none.
            }
        }
        return null;
    }

    private static string Named(string secret, string host) => secret.Length > 0 ? secret + "." + host : "";

    private static string Header(string id, byte[] value, bool isToken)
    {
        if (isToken)
            return "basic " + Convert.ToBase64String([.. "x-access-token:"u8, .. value]);
        var text = Encoding.UTF8.GetString(value);
        return text.AsSpan().ContainsAny("\0\r\n")
            ? throw new InvalidOperationException($"secret {id} is no header: it has several lines")
            : text;
    }

    /// <summary>Which addresses the header is for: the remote, or all of GitHub, where submodules mostly are too.</summary>
    private static string ScopeOf(string remote)
    {
        foreach (var host in new[] { "https://github.com/", "https://www.github.com/" })
        {
            if (remote.StartsWith(host, StringComparison.Ordinal))
                return host;
        }
        return remote;
    }
}
