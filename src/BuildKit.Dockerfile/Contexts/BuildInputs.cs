using BuildKit.Dockerfile.Parsing;
using BuildKit.Dockerfile.Text;
using BuildKit.Llb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>Where the build context and the Dockerfile come from, and loading them (spec 05 §8).</summary>
public sealed class BuildInputs(IFrontendClient client, FrontendOptions options)
{
    private const string DefaultFilename = "Dockerfile";
    private const string IgnoreFilename = ".dockerignore";

    private readonly SemaphoreSlim _ignoreLock = new(1);
    private readonly MarshalOptions _marshal = new() { Capabilities = client.Options.GatewayCaps };
    private State? _context;
    private State? _dockerfile;
    private string _filename = DefaultFilename;
    private string _dockerfileName = "dockerfile";
    private byte[]? _ignoreFile;
    private bool _detected;

    private const string ContextName = "context";

    /// <summary>The daemon.</summary>
    public IFrontendClient Client => client;

    /// <summary>The options of the call.</summary>
    public FrontendOptions Options => options;

    /// <summary>Session a local directory is read from.</summary>
    public string SessionOf(string local) => options.LocalSessions.GetValueOrDefault(local, client.Options.SessionId);

    /// <summary>Loads the Dockerfile, and the ignore file that belongs to it alone.</summary>
    /// <exception cref="DockerfileException">It cannot be read.</exception>
    public async Task<DockerfileSource> LoadDockerfileAsync(CancellationToken cancellationToken)
    {
        await DetectAsync(cancellationToken).ConfigureAwait(false);
        var source = _dockerfile ?? LocalDockerfile();
        var definition = await source.MarshalAsync(_marshal, cancellationToken).ConfigureAwait(false);
        var reference = await SolveAsync(definition, false, cancellationToken).ConfigureAwait(false)
            ?? throw new DockerfileException($"failed to read dockerfile: the definition of {_filename} is empty");
        var content = await ReadDockerfileAsync(reference, cancellationToken).ConfigureAwait(false);
        _ignoreFile = await TryReadAsync(reference, _filename + IgnoreFilename, cancellationToken).ConfigureAwait(false);
        var map = new SourceMap(_filename, "Dockerfile", content) { Definition = definition };
        return new DockerfileSource(content, map, Definitions.Head(definition));
    }

    /// <summary>The build context, restricted to paths where it is a local directory.</summary>
    /// <param name="followPaths">Paths used; null for all.</param>
    /// <param name="cancellationToken">Cancels loading the ignore file.</param>
    public async Task<State> LoadContextAsync(IReadOnlyList<string>? followPaths, CancellationToken cancellationToken)
    {
        if (_context is not null)
            return _context;
        return State.Local(ContextName, new LocalOptions
        {
            SessionId = SessionOf(ContextName),
            ExcludePatterns = await LoadIgnorePatternsAsync(cancellationToken).ConfigureAwait(false),
            SharedKeyHint = ContextName,
            FollowPaths = followPaths ?? [],
            Constraints = Definitions.Internal("load build context"),
        });
    }

    /// <summary>Patterns of files left out of the context; none for contexts that are not local.</summary>
    public async Task<IReadOnlyList<string>> LoadIgnorePatternsAsync(CancellationToken cancellationToken)
    {
        if (_context is not null)
            return [];
        await _ignoreLock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_ignoreFile is null)
            {
                var source = IgnoreFileOf(ContextName, ContextName + "-", "[internal] load " + IgnoreFilename);
                _ignoreFile = await ReadIgnoreFileAsync(source, _marshal, false, cancellationToken).ConfigureAwait(false);
            }
            return IgnoreFile.Parse(_ignoreFile);
        }
        finally
        {
            _ignoreLock.Release();
        }
    }

    /// <summary>Patterns of a named context that is a local directory; the directory is read at once.</summary>
    internal async Task<IReadOnlyList<string>> LoadIgnorePatternsAsync(string local, string contextName, CancellationToken cancellationToken)
    {
        var source = IgnoreFileOf(local, $"context:{contextName}-", $"[context {contextName}] load {IgnoreFilename}");
        return IgnoreFile.Parse(await ReadIgnoreFileAsync(source, new MarshalOptions(), true, cancellationToken).ConfigureAwait(false));
    }

    /// <summary>A git repository as a context; null when the text names none.</summary>
    internal static State? GitContext(string text, bool keepGitDir) => GitReference.Parse(text) is not { } git ? null : State.Git(git.Remote, git.Fragment, new GitOptions
    {
        KeepGitDir = keepGitDir,
        ScanSshHostKeys = SshHostKeys.Scan,
        Constraints = Definitions.Internal("load git source " + text),
    });

    private State IgnoreFileOf(string local, string hint, string name) => State.Local(local, new LocalOptions
    {
        SessionId = SessionOf(local),
        FollowPaths = [IgnoreFilename],
        SharedKeyHint = hint + IgnoreFilename,
        Differ = LocalOptions.DifferNone,
        Constraints = OpConstraints.None.WithCustomName(name),
    });

    private async Task<byte[]> ReadIgnoreFileAsync(State source, MarshalOptions marshal, bool evaluate, CancellationToken cancellationToken)
    {
        var definition = await source.MarshalAsync(marshal, cancellationToken).ConfigureAwait(false);
        var reference = await SolveAsync(definition, evaluate, cancellationToken).ConfigureAwait(false);
        return reference is null ? [] : await TryReadAsync(reference, IgnoreFilename, cancellationToken).ConfigureAwait(false) ?? [];
    }

    private State LocalDockerfile()
    {
        var paths = new List<string> { _filename, _filename + IgnoreFilename };
        if (HasDefaultName)
            paths.Add(LowerCaseFilename);
        return State.Local(_dockerfileName, new LocalOptions
        {
            FollowPaths = paths,
            SessionId = SessionOf(_dockerfileName),
            SharedKeyHint = _dockerfileName,
            Differ = LocalOptions.DifferNone,
            Constraints = Definitions.Internal("load build definition from " + _filename),
        });
    }

    private bool HasDefaultName => SlashPath.Base(_filename) is DefaultFilename;

    private string LowerCaseFilename => SlashPath.Join(SlashPath.Clean(_filename[..(_filename.LastIndexOf('/') + 1)]), "dockerfile");

    private async Task<byte[]> ReadDockerfileAsync(IFrontendReference reference, CancellationToken cancellationToken)
    {
        try
        {
            return await reference.ReadFileAsync(_filename, 0, null, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            var other = HasDefaultName ? await TryReadAsync(reference, LowerCaseFilename, cancellationToken).ConfigureAwait(false) : null;
            return other ?? throw new DockerfileException($"failed to read dockerfile: {e.Message}", e);
        }
    }

    /// <summary>A file's content; null when it cannot be read: the files asked for here are optional.</summary>
    private static async Task<byte[]?> TryReadAsync(IFrontendReference reference, string path, CancellationToken cancellationToken)
    {
        try
        {
            return await reference.ReadFileAsync(path, 0, null, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            return null;
        }
    }

    private async Task<IFrontendReference?> SolveAsync(Protocol.Pb.Definition definition, bool evaluate, CancellationToken cancellationToken)
    {
        var result = await client.SolveAsync(new FrontendSolveRequest { Definition = definition, Evaluate = evaluate }, cancellationToken).ConfigureAwait(false);
        return result.Reference;
    }

    private async Task DetectAsync(CancellationToken cancellationToken)
    {
        if (_detected)
            return;
        _detected = true;
        _filename = options.All.GetValueOrDefault("filename", DefaultFilename);
        var forced = options.All.TryGetValue("dockerfilekey", out var dockerfileKey);
        _dockerfileName = dockerfileKey ?? _dockerfileName;
        var context = options.Option(options.All.GetValueOrDefault("contextkey", ContextName));
        if (GitContext(context, GoNumber.ParseBool(options.Option("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR")) is true) is { } git)
            _context = _dockerfile = git;
        else if (context.StartsWith("http://", StringComparison.Ordinal) || context.StartsWith("https://", StringComparison.Ordinal))
            await DetectHttpAsync(context, cancellationToken).ConfigureAwait(false);
        else if (client.Options.GatewayCaps.Supports(GatewayCaps.FrontendInputs))
            await DetectInputsAsync(cancellationToken).ConfigureAwait(false);
        if (forced)
            _dockerfile = null;
        if (_context is not null && options.All.TryGetValue("contextsubdir", out var subdirectory))
            _context = State.Scratch.File(Files.Copy(_context, subdirectory, "/", new CopyOptions { CopyDirectoryContents = true }));
    }

    private async Task DetectHttpAsync(string url, CancellationToken cancellationToken)
    {
        var download = State.Http(url, new HttpOptions { Filename = ContextName, Constraints = Definitions.Internal("load remote build context") });
        var definition = await download.MarshalAsync(_marshal, cancellationToken).ConfigureAwait(false);
        var reference = await SolveAsync(definition, false, cancellationToken).ConfigureAwait(false)
            ?? throw new DockerfileException($"failed to read downloaded context: {url} gave no file");
        byte[] head;
        try
        {
            head = await reference.ReadFileAsync(ContextName, 0, 1024, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            throw new DockerfileException($"failed to read downloaded context: {e.Message}", e);
        }
        if (IsArchive(head))
        {
            _context = State.Scratch.File(Files.Copy(download, "/" + ContextName, "/", new CopyOptions { AttemptUnpack = true }));
        }
        else
        {
            _filename = ContextName;
            _context = download;
        }
        _dockerfile = _context;
    }

    private async Task DetectInputsAsync(CancellationToken cancellationToken)
    {
        var inputs = await client.GetInputsAsync(cancellationToken).ConfigureAwait(false);
        if (inputs.TryGetValue(_dockerfileName, out var dockerfile))
            _dockerfile = State.FromDefinition(dockerfile);
        if (inputs.TryGetValue(ContextName, out var context))
            _context = State.FromDefinition(context);
    }

    private static bool IsArchive(byte[] head)
    {
        var start = head.AsSpan();
        if (start.StartsWith("BZh"u8) || start.StartsWith(new byte[] { 0x1F, 0x8B, 0x08 }) || start.StartsWith(new byte[] { 0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00 }))
            return true;
        return TarHeader.IsValid(head);
    }
}
