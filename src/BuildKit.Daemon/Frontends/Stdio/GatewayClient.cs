using BuildKit.Dockerfile.Contexts;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using Google.Protobuf;

namespace BuildKit.Daemon.Frontends.Stdio;

/// <summary>A daemon at the other end of a gateway connection, as a frontend sees it (spec 01 §6.2).</summary>
internal sealed class GatewayClient : IFrontendClient
{
    private const string ImageScheme = "docker-image://";
    private const int OciLayoutResolver = 1;
    private static readonly TimeSpan PingTimeout = TimeSpan.FromSeconds(15);

    /// <summary>Options of this call that hold for frontends it runs, unless they are given others.</summary>
    private static readonly string[] InheritedOptions = ["cache-imports", "cache-from"];

    private readonly IGrpcChannel _channel;
    private readonly string _product;

    private GatewayClient(IGrpcChannel channel, FrontendCall call, PongResponse pong)
    {
        _channel = channel;
        _product = call.Product;
        Options = new FrontendBuildOptions
        {
            Opts = call.Options,
            SessionId = call.SessionId,
            WorkerPlatforms = call.Platforms,
            LlbCaps = pong.LLBCaps.Count > 0 ? LlbCaps.All.SupportedBy(pong.LLBCaps) : LlbCaps.All.SupportedBy(LlbCaps.Oldest),
            GatewayCaps = pong.FrontendAPICaps.Count > 0 ? GatewayCaps.All.SupportedBy(pong.FrontendAPICaps) : GatewayCaps.All.SupportedBy(GatewayCaps.Oldest),
        };
    }

    /// <inheritdoc/>
    public FrontendBuildOptions Options { get; }

    /// <summary>Asks the daemon what it can do.</summary>
    public static async Task<GatewayClient> ConnectAsync(IGrpcChannel channel, FrontendCall call, CancellationToken cancellationToken) =>
        new(channel, call, await channel.UnaryAsync(LLBBridgeMethods.Ping, new PingRequest(), new CallOptions(Timeout: PingTimeout), cancellationToken));

    /// <inheritdoc/>
    public async Task<FrontendResult> SolveAsync(FrontendSolveRequest request, CancellationToken cancellationToken)
    {
        var message = new SolveRequest
        {
            Definition = request.Definition,
            Frontend = request.Frontend,
            AllowResultReturn = true,
            AllowResultArrayRef = true,
            Evaluate = request.Evaluate,
        };
        if (request.Definition is { } definition)
            foreach (var metadata in definition.Metadata.Values)
                foreach (var capability in metadata.Caps.Keys.Order(ByteOrder.Instance))
                    Options.LlbCaps.Require(capability, _product);
        foreach (var (name, value) in request.FrontendOpts)
            message.FrontendOpt[name] = value;
        foreach (var name in request.Frontend.Length > 0 ? InheritedOptions : [])
            if (Options.Opts.TryGetValue(name, out var value) && !message.FrontendOpt.ContainsKey(name))
                message.FrontendOpt[name] = value;
        foreach (var (name, input) in request.FrontendInputs ?? new Dictionary<string, Definition>(StringComparer.Ordinal))
            message.FrontendInputs[name] = input;
        foreach (var import in request.CacheImports)
            message.CacheImports.Add(new CacheOptionsEntry { Type = import.Type, Attrs = { import.Attributes.ToDictionary() } });
        var answer = (await CallAsync(LLBBridgeMethods.Solve, message, cancellationToken)).Result ?? new Result();
        // A daemon from before "evaluate" computes a result when somebody looks at it.
        if (request.Evaluate && !Options.GatewayCaps.Supports(GatewayCaps.GatewaySolveEvaluate) && answer.Ref is { Id.Length: > 0 } lazy)
            await CallAsync(LLBBridgeMethods.ReadDir, new ReadDirRequest { Ref = lazy.Id, DirPath = "." }, cancellationToken);
        return FromMessage(answer);
    }

    /// <inheritdoc/>
    public async Task<FrontendImageConfig> ResolveImageConfigAsync(string reference, ImageConfigQuery query, CancellationToken cancellationToken)
    {
        if (query.OciStoreId is null && Options.GatewayCaps.Supports(GatewayCaps.SourceMetaResolver))
            return await ResolveSourceAsync(reference, ImageScheme + reference, query, cancellationToken);
        var answer = await CallAsync(
            LLBBridgeMethods.ResolveImageConfig,
            new ResolveImageConfigRequest
            {
                Ref = reference,
                Platform = query.Platform?.ToProto(),
                ResolveMode = query.ResolveMode,
                LogName = query.LogName,
                ResolverType = query.OciStoreId is null ? 0 : OciLayoutResolver,
                SessionID = query.OciSessionId ?? "",
                StoreID = query.OciStoreId ?? "",
            },
            cancellationToken);
        return new FrontendImageConfig(answer.Ref.Length > 0 ? answer.Ref : reference, Digest.Unchecked(answer.Digest), answer.Config.ToByteArray());
    }

    /// <inheritdoc/>
    public Task<FrontendImageConfig> ResolveSourceMetadataAsync(string identifier, ImageConfigQuery query, CancellationToken cancellationToken) =>
        ResolveSourceAsync(identifier, identifier, query, cancellationToken);

    /// <inheritdoc/>
    public async Task<IReadOnlyDictionary<string, Definition>> GetInputsAsync(CancellationToken cancellationToken) =>
        (await CallAsync(LLBBridgeMethods.Inputs, new InputsRequest(), cancellationToken)).Definitions.ToDictionary(StringComparer.Ordinal);

    /// <inheritdoc/>
    public async Task WarnAsync(Digest vertex, FrontendWarning warning, CancellationToken cancellationToken)
    {
        if (!Options.GatewayCaps.Supports(GatewayCaps.GatewayWarnings))
            return;
        var message = new WarnRequest
        {
            Digest = vertex.ToString(),
            Level = warning.Level,
            Short = ByteString.CopyFromUtf8(warning.Short),
            Url = warning.Url,
            Info = warning.Source,
        };
        message.Detail.AddRange(warning.Detail.Select(ByteString.CopyFromUtf8));
        message.Ranges.AddRange(warning.Ranges.Select(SourceRanges.ToMessage));
        await CallAsync(LLBBridgeMethods.Warn, message, cancellationToken);
    }

    /// <summary>A result as the daemon is told of it.</summary>
    public static Result ToMessage(FrontendResult result)
    {
        var message = new Result();
        if (result.References.Count > 0)
            message.Refs = new RefMap { Refs = { result.References.ToDictionary(pair => pair.Key, pair => ToMessage(pair.Value), StringComparer.Ordinal) } };
        else
            message.Ref = ToMessage(result.Reference);
        foreach (var (key, value) in result.Metadata)
            message.Metadata.Add(key, ByteString.CopyFrom(value));
        foreach (var (key, attestations) in result.Attestations)
        {
            var list = new Attestations();
            foreach (var attestation in attestations)
            {
                var item = new Attestation
                {
                    Kind = attestation.IsBundle ? AttestationKind.Bundle : AttestationKind.InToto,
                    InTotoPredicateType = attestation.PredicateType,
                    Path = attestation.Path,
                    Ref = ToMessage(attestation.Reference),
                };
                foreach (var (name, value) in attestation.Metadata)
                    item.Metadata.Add(name, ByteString.CopyFrom(value));
                item.InTotoSubjects.AddRange(attestation.Subjects.Select(subject => new InTotoSubject
                {
                    Kind = subject.IsSelf ? InTotoSubjectKind.Self : InTotoSubjectKind.Raw,
                    Name = subject.Name,
                    Digest = { subject.Digests },
                }));
                list.Attestation.Add(item);
            }
            message.Attestations.Add(key, list);
        }
        return message;
    }

    private static Ref ToMessage(IFrontendReference? reference) => new() { Id = (reference as Reference)?.Id ?? "" };

    private FrontendResult FromMessage(Result message)
    {
        var result = new FrontendResult { Reference = Wrap(message.Ref) };
        foreach (var (key, reference) in message.Refs?.Refs ?? [])
            result.References.Add(key, Wrap(reference));
        foreach (var (key, value) in message.Metadata)
            result.Metadata.Add(key, value.ToByteArray());
        foreach (var (key, attestations) in message.Attestations)
        {
            result.Attestations.Add(key, [.. attestations.Attestation.Select(attestation => new FrontendAttestation(
                Wrap(attestation.Ref), attestation.InTotoPredicateType,
                attestation.Metadata.ToDictionary(pair => pair.Key, pair => pair.Value.ToByteArray(), StringComparer.Ordinal))
            {
                IsBundle = attestation.Kind == AttestationKind.Bundle,
                Path = attestation.Path,
                Subjects = [.. attestation.InTotoSubjects.Select(subject => new FrontendSubject(subject.Kind == InTotoSubjectKind.Self, subject.Name, [.. subject.Digest]))],
            })]);
        }
        return result;
    }

    private Reference? Wrap(Ref? reference) => reference is { Id.Length: > 0 } ? new Reference(this, reference.Id) : null;

    private async Task<FrontendImageConfig> ResolveSourceAsync(string name, string identifier, ImageConfigQuery query, CancellationToken cancellationToken)
    {
        var answer = await CallAsync(
            LLBBridgeMethods.ResolveSourceMeta,
            new ResolveSourceMetaRequest
            {
                Source = new SourceOp { Identifier = identifier },
                Platform = query.Platform?.ToProto(),
                LogName = query.LogName,
                ResolveMode = query.ResolveMode,
            },
            cancellationToken);
        var resolved = answer.Source?.Identifier is { Length: > 0 } other ? other : identifier;
        if (!resolved.StartsWith(ImageScheme, StringComparison.Ordinal))
            throw new NonImageSourceException(name, resolved);
        return new FrontendImageConfig(
            identifier == name ? resolved : resolved[ImageScheme.Length..],
            Digest.Unchecked(answer.Image?.Digest ?? ""), answer.Image?.Config.ToByteArray() ?? []);
    }

    private Task<TResponse> CallAsync<TRequest, TResponse>(Method<TRequest, TResponse> method, TRequest request, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse> =>
        _channel.UnaryAsync(method, request, default, cancellationToken);

    private sealed class Reference(GatewayClient client, string id) : IFrontendReference
    {
        public string Id => id;

        public async Task<byte[]> ReadFileAsync(string path, long offset, long? length, CancellationToken cancellationToken)
        {
            var request = new ReadFileRequest { Ref = id, FilePath = path };
            if (offset > 0 || length is not null)
                request.Range = new FileRange { Offset = offset, Length = length ?? int.MaxValue };
            return (await client.CallAsync(LLBBridgeMethods.ReadFile, request, cancellationToken)).Data.ToByteArray();
        }

        public async Task<IReadOnlyList<FrontendFileInfo>> ReadDirAsync(string path, string includePattern, CancellationToken cancellationToken)
        {
            var answer = await client.CallAsync(
                LLBBridgeMethods.ReadDir, new ReadDirRequest { Ref = id, DirPath = path, IncludePattern = includePattern }, cancellationToken);
            return [.. answer.Entries.Select(Info)];
        }

        public async Task<FrontendFileInfo> StatFileAsync(string path, CancellationToken cancellationToken) =>
            Info((await client.CallAsync(LLBBridgeMethods.StatFile, new StatFileRequest { Ref = id, Path = path }, cancellationToken)).Stat);

        private static FrontendFileInfo Info(Protocol.FsUtil.Stat stat) => new(stat.Path, stat.Mode, stat.Size);
    }
}
