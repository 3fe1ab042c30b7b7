using System.Threading.Channels;
using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.Cli.Values;
using BuildKit.Client;
using BuildKit.CommandLine;
using BuildKit.Llb;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Session.Auth;
using BuildKit.Session.Secrets;
using BuildKit.Session.Ssh;
using BuildKit.Session.Transport;
using Google.Protobuf;

namespace BuildKit.Cli.Commands;

/// <summary><c>buildctl build</c> (spec 08 §1.3).</summary>
internal static class BuildCommand
{
    private const int ErrorDescriptor = 2;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>The command.</summary>
    public static Command Create() => new("build", "build")
    {
        Aliases = ["b"],
        Flags = BuildFlags.Create,
        UsageText = """

              To build and push an image using Dockerfile:
                $ buildctl build --frontend dockerfile.v0 --opt target=foo --opt build-arg:foo=bar --local context=. --local dockerfile=. --output type=image,name=docker.io/username/image,push=true
              The same in short:
                $ buildctl build --opt target=foo --opt build-arg:foo=bar -t docker.io/username/image --push .

            """,
        RunAsync = RunAsync,
    };

    private static async Task RunAsync(CommandContext context, FlagValues flags, CancellationToken cancellationToken)
    {
        await using var trace = OpenTrace(context, flags);
        using var metrics = CacheMetrics.Open(context, flags.String("debug-json-cache-metrics"));
        var messages = Channel.CreateUnbounded<StatusResponse>(new UnboundedChannelOptions { SingleReader = true });
        using var auth = new AuthProvider(new AuthOptions
        {
            Config = DockerConfig.Load(DockerConfig.DefaultDirectory, text => context.PrintError(text + "\n")),
            TlsContexts = BuildValues.ParseTlsContexts(flags.List("registry-auth-tlscontext")),
            Progress = name => ClientVertex.Begin(name, messages.Writer, context.Time),
            Time = context.Time,
        });
        var options = Read(context, flags, auth);
        try
        {
            await BuildAsync(context, flags, options, messages, trace, metrics, cancellationToken);
        }
        finally
        {
            if (flags.String("ref-file") is { Length: > 0 } file)
                AtomicFile.Write(file, System.Text.Encoding.ASCII.GetBytes(options.Ref));
        }
    }

    private static async Task BuildAsync(
        CommandContext context, FlagValues flags, SolveOptions options, Channel<StatusResponse> messages, Stream? trace, CacheMetrics? metrics, CancellationToken cancellationToken)
    {
        var mode = Displays.Resolve(flags.String("progress"), context.IsTerminal(ErrorDescriptor), context.Variable);
        var look = DisplayOptions.FromEnvironment(context.Variable, context.Colors) with { ShowsLateWarnings = true };
        var display = Displays.Create(mode, context.ErrorOutput, ErrorDescriptor, look, context.Time);
        var shift = new ClockShift(context.Time);
        BuildResult result;
        await using (var connection = await BuildConnection.OpenAsync(context, cancellationToken))
        {
            var drawing = DisplayLoop.RunAsync(messages.Reader, display, look.Tick, context.Time);
            try
            {
                result = await new BuildClient(connection.Channel).BuildAsync(options, Report, cancellationToken);
            }
            catch (RpcException answer)
            {
                throw new CommandException("failed to solve: " + ErrorText.Of(answer), answer);
            }
            catch (ClientException failure)
            {
                throw new CommandException(failure.Message, failure);
            }
            finally
            {
                messages.Writer.TryComplete();
                await drawing;
                if (options.ExplainsCache && !cancellationToken.IsCancellationRequested)
                    await ExplainCommand.AfterBuildAsync(context, connection.Channel, options.Ref, display, cancellationToken);
            }
        }
        Finish(context, flags, options, result, mode);
        metrics?.Write();

        void Report(StatusResponse message)
        {
            shift.Apply(message);
            trace?.Write(StatusJson.Line(message));
            metrics?.Update(message);
            messages.Writer.TryWrite(message);
        }
    }

    private static void Finish(CommandContext context, FlagValues flags, SolveOptions options, BuildResult result, string mode)
    {
        if (options.FrontendAttributes.ContainsKey("requestid"))
        {
            SubrequestResult.Print(context, result.Metadata);
            return;
        }
        if (flags.String("metadata-file") is { Length: > 0 } file && result.ExporterResponse.Count > 0)
            AtomicFile.Write(file, MetadataFile.Format(result.ExporterResponse));
        if (options.Exports.Count == 0 && mode is "tty" or "plain")
            context.PrintError("\nBuilt. The result is in the daemon's cache only; add -o type=local,dest=DIR to get its files, or -t NAME to make an image.\n");
    }

    private static SolveOptions Read(CommandContext context, FlagValues flags, AuthProvider auth)
    {
        var services = new List<GrpcService> { auth.ToService() };
        var warn = (string message) => context.Log.Warn(message);
        try
        {
            if (flags.List("ssh") is { Count: > 0 } agents)
                services.Add(SshAgentProvider.Create(agents.Select(BuildValues.ParseSsh)));
            if (flags.List("secret") is { Count: > 0 } secrets)
            {
                var sources = new Dictionary<string, SecretSource>(StringComparer.Ordinal);
                foreach (var value in secrets)
                {
                    var (id, source) = SecretValue.Parse(value);
                    sources[id] = source;
                }
                services.Add(SecretsProvider.Create(sources));
            }
            string[] entitlements = [.. flags.List("allow").Select(BuildValues.ParseEntitlement)];
            ExportRequest[] exports = [.. flags.List("output").Select(text => OutputValue.Parse(text, context.IsTerminal(1), () => new StandardStream(1)))];
            CacheRequest[] cacheExports = [.. flags.List("export-cache").Select(text => CacheValue.ParseExport(text, context.Variable, warn))];
            CacheRequest[] cacheImports = [.. flags.List("import-cache").Select(text => CacheValue.ParseImport(text, context.Variable, warn))];
            var policy = SourcePolicy(flags.String("source-policy-file"));
            var attributes = BuildValues.ParseOptions(flags.List("opt"));
            if (context.Variable("SOURCE_DATE_EPOCH") is { } epoch)
                attributes.TryAdd("build-arg:SOURCE_DATE_EPOCH", epoch);
            var options = new SolveOptions
            {
                Ref = SessionId.New(),
                Frontend = flags.String("frontend"),
                FrontendAttributes = attributes,
                Exports = exports,
                CacheExports = cacheExports,
                CacheImports = cacheImports,
                LocalDirectories = BuildValues.ParseLocals(flags.List("local")),
                OciLayouts = BuildValues.ParseLayouts(flags.List("oci-layout")),
                SessionServices = services,
                Entitlements = entitlements,
                SourcePolicy = policy,
                ExplainsCache = flags.Bool("explain-cache"),
                Warn = warn,
                JoinLocalCache = (layout, current, exported, exportAttributes, token) =>
                    RemoteCache.Backends.Local.LocalCacheMerge.JoinAsync(layout, current, exported, exportAttributes, context.Time, token),
            };
            if (ShortForm.IsUsed(flags))
                options = ShortForm.Apply(flags, options, context.OpenInput);
            if (flags.Bool("no-cache") && options.Frontend.Length > 0)
                options = options with { FrontendAttributes = new Dictionary<string, string>(options.FrontendAttributes, StringComparer.Ordinal) { ["no-cache"] = "" } };
            return options.Frontend.Length > 0 ? options : options with { Definition = ReadDefinition(context, flags.Bool("no-cache")) };
        }
        catch (Exception failure) when (failure is SshSourceException or SecretSourceException or FormatException or ClientException)
        {
            throw new CommandException(failure.Message, failure);
        }
    }

    private static Definition ReadDefinition(CommandContext context, bool ignoresCache)
    {
        using var input = context.OpenInput();
        if (StandardInput.IsCharacterDevice())
            throw new CommandException("please specify --frontend or pipe LLB definition to stdin");
        Definition definition;
        try
        {
            definition = Definition.Parser.ParseFrom(input);
        }
        catch (InvalidProtocolBufferException failure)
        {
            throw new CommandException($"failed to parse input: {failure.Message}", failure);
        }
        if (definition.Def.Count == 0)
            throw new CommandException("empty definition sent to build. Specify --frontend instead?");
        if (!ignoresCache)
            return definition;
        foreach (var op in definition.Def)
        {
            var digest = Oci.Digest.Sha256(op.Span).ToString();
            if (!definition.Metadata.TryGetValue(digest, out var metadata))
                definition.Metadata.Add(digest, metadata = new OpMetadata());
            metadata.IgnoreCache = true;
        }
        return definition;
    }

    private static Protocol.SourcePolicy.Policy? SourcePolicy(string path)
    {
        if (path.Length == 0)
            return null;
        byte[] json;
        try
        {
            json = File.ReadAllBytes(path);
        }
        catch (Exception failure) when (failure is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandException($"open {path}: no such file or directory", failure);
        }
        try
        {
            return SourcePolicyJson.Parse(json);
        }
        catch (Exception failure) when (failure is LlbException or FormatException or System.Text.Json.JsonException)
        {
            throw new CommandException($"failed to unmarshal source-policy-file \"{path}\": {failure.Message}", failure);
        }
    }

    private static FileStream? OpenTrace(CommandContext context, FlagValues flags)
    {
        var path = flags.String("trace");
        if (path.Length == 0)
            return null;
        try
        {
            var file = new FileStream(path, new FileStreamOptions { Mode = FileMode.Append, Access = FileAccess.Write, Share = FileShare.ReadWrite, UnixCreateMode = OwnerOnly, BufferSize = 0 });
            context.Log.Info($"tracing logs to {path}");
            return file;
        }
        catch (DirectoryNotFoundException failure)
        {
            throw new CommandException($"open {path}: no such file or directory", failure);
        }
    }
}
