using BuildKit.Client;
using BuildKit.Llb;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using BuildKit.Session.Transport;
using Google.Protobuf;
using ControlSolve = BuildKit.Protocol.Control.SolveRequest;
using ControlSolved = BuildKit.Protocol.Control.SolveResponse;
using GatewaySolve = BuildKit.Protocol.Gateway.SolveRequest;
using GatewaySolved = BuildKit.Protocol.Gateway.SolveResponse;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A build driven by the test itself, as a client's own frontend drives it: Control.Solve waits while the test
/// makes calls on the gateway (spec 01 §6.1).</summary>
public sealed class GatewayDriver : IAsyncDisposable
{
    private readonly IGrpcChannel _channel;
    private readonly SessionCallee _session;
    private readonly CallOptions _options;
    private readonly CancellationTokenSource _stop = new(TimeSpan.FromMinutes(1));

    private GatewayDriver(IGrpcChannel channel, SessionCallee session, string id, ControlSolve request)
    {
        _channel = channel;
        _session = session;
        Id = id;
        _options = new CallOptions(new Metadata { { "buildkit-controlapi-buildid", id } });
        Solved = channel.UnaryAsync(ControlMethods.Solve, request, default, _stop.Token);
    }

    /// <summary>The build's id.</summary>
    public string Id { get; }

    /// <summary>Control.Solve, under way.</summary>
    public Task<ControlSolved> Solved { get; }

    /// <summary>Fires when the test takes too long, or ends.</summary>
    public CancellationToken Token => _stop.Token;

    /// <summary>Starts a build.</summary>
    public static async Task<GatewayDriver> StartAsync(string address, Action<ControlSolve>? change = null, params GrpcService[] services)
    {
        var channel = await DaemonConnection.ConnectAsync(address, new TlsOptions(), CancellationToken.None);
        var id = SessionId.New();
        var session = SessionCallee.Start(channel, SessionId.New(), "", services, null, CancellationToken.None);
        var request = new ControlSolve { Ref = id, Session = session.Id, Cache = new CacheOptions() };
        change?.Invoke(request);
        return new GatewayDriver(channel, session, id, request);
    }

    /// <summary>Calls the gateway.</summary>
    public Task<TResponse> CallAsync<TRequest, TResponse>(Method<TRequest, TResponse> method, TRequest request)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse> =>
        _channel.UnaryAsync(method, request, _options, Token);

    /// <summary>Solves a state; the id of its result.</summary>
    public async Task<string> SolveAsync(State state, bool evaluate = false) =>
        (await CallAsync(LLBBridgeMethods.Solve, await RequestAsync(state, evaluate))).Result.Ref.Id;

    /// <summary>A request to solve a state, as today's clients make it.</summary>
    public static async Task<GatewaySolve> RequestAsync(State state, bool evaluate = false) => new()
    {
        Definition = await state.MarshalAsync(new MarshalOptions(), CancellationToken.None),
        AllowResultReturn = true,
        AllowResultArrayRef = true,
        Evaluate = evaluate,
    };

    /// <summary>Runs a frontend.</summary>
    public Task<GatewaySolved> RunFrontendAsync(string name, IReadOnlyDictionary<string, string> options)
    {
        var request = new GatewaySolve { Frontend = name, AllowResultReturn = true, AllowResultArrayRef = true };
        foreach (var (key, value) in options)
            request.FrontendOpt[key] = value;
        return CallAsync(LLBBridgeMethods.Solve, request);
    }

    /// <summary>Text of a file of a result.</summary>
    public async Task<string> ReadAsync(string reference, string path) =>
        (await CallAsync(LLBBridgeMethods.ReadFile, new ReadFileRequest { Ref = reference, FilePath = path })).Data.ToStringUtf8();

    /// <summary>Returns a result, which ends the build, and waits for its end.</summary>
    public async Task<ControlSolved> ReturnAsync(string reference = "")
    {
        await CallAsync(LLBBridgeMethods.Return, new ReturnRequest { Result = new Result { Ref = new Ref { Id = reference } } });
        return await Solved;
    }

    /// <summary>Makes a container on a result, with further mounts.</summary>
    public async Task<string> NewContainerAsync(string root, params Mount[] mounts)
    {
        var request = new NewContainerRequest { ContainerID = SessionId.New(), Mounts = { new Mount { Dest = "/", ResultID = root } } };
        request.Mounts.AddRange(mounts);
        await CallAsync(LLBBridgeMethods.NewContainer, request);
        return request.ContainerID;
    }

    /// <summary>Opens a stream of processes.</summary>
    public ProcessStream OpenProcesses() => new(_channel.Open(LLBBridgeMethods.ExecProcess, _options, Token), Token);

    /// <summary>Runs one process to its end; what it printed, and its exit.</summary>
    public async Task<(string Output, string Errors, ExitMessage Exit)> RunAsync(string container, params string[] args)
    {
        await using var stream = OpenProcesses();
        await stream.StartAsync("p", container, args);
        await stream.FinishAsync();
        return (stream.Text("p", 1), stream.Text("p", 2), stream.Exit("p"));
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        try
        {
            await Solved;
        }
        catch (Exception exception) when (exception is RpcException or OperationCanceledException)
        {
            // The test looked at what it wanted to see of it.
        }
        await _session.DisposeAsync();
        await _channel.DisposeAsync();
        _stop.Dispose();
    }
}

/// <summary>Processes of containers over one stream, and all that was told of them.</summary>
public sealed class ProcessStream(IGrpcCall<ExecMessage, ExecMessage> call, CancellationToken cancellationToken) : IAsyncDisposable
{
    private readonly List<ExecMessage> _seen = [];

    /// <summary>What came so far, in order.</summary>
    public IReadOnlyList<ExecMessage> Seen => _seen;

    /// <summary>Sends a message.</summary>
    public ValueTask SendAsync(ExecMessage message) => call.SendAsync(message, cancellationToken);

    /// <summary>Starts a process and waits until that is told.</summary>
    public async Task StartAsync(string id, string container, IEnumerable<string> args, Action<InitMessage>? change = null)
    {
        var init = new InitMessage { ContainerID = container, Meta = new Meta { Args = { args }, Cwd = "/" }, Fds = { 1, 2 } };
        change?.Invoke(init);
        await SendAsync(new ExecMessage { ProcessID = id, Init = init });
        await UntilAsync(message => message.ProcessID == id && message.InputCase == ExecMessage.InputOneofCase.Started);
    }

    /// <summary>Types to a process.</summary>
    public ValueTask WriteAsync(string id, string text, bool end = false) =>
        SendAsync(new ExecMessage { ProcessID = id, File = new FdMessage { Fd = 0, Data = ByteString.CopyFromUtf8(text), EOF = end } });

    /// <summary>Reads until a message comes, or came.</summary>
    public async Task UntilAsync(Func<ExecMessage, bool> isWanted)
    {
        try
        {
            while (!_seen.Any(isWanted))
                _seen.Add(await call.ReadAsync(cancellationToken) ?? throw new InvalidOperationException("the stream ended: " + string.Join('\n', _seen)));
        }
        catch (OperationCanceledException exception)
        {
            throw new TimeoutException("did not come; seen: " + string.Join('\n', _seen), exception);
        }
    }

    /// <summary>Reads until a process has printed a text.</summary>
    public Task UntilTextAsync(string id, string text) => UntilAsync(_ => Text(id, 1).Contains(text, StringComparison.Ordinal));

    /// <summary>Half-closes and reads to the end.</summary>
    public async Task FinishAsync()
    {
        await call.CompleteAsync(cancellationToken);
        while (await call.ReadAsync(cancellationToken) is { } message)
            _seen.Add(message);
    }

    /// <summary>What a process printed so far.</summary>
    public string Text(string id, uint descriptor) => string.Concat(
        _seen.Where(m => m.ProcessID == id && m.InputCase == ExecMessage.InputOneofCase.File && m.File.Fd == descriptor).Select(m => m.File.Data.ToStringUtf8()));

    /// <summary>How a process ended.</summary>
    public ExitMessage Exit(string id) => Assert.Single(_seen, m => m.ProcessID == id && m.InputCase == ExecMessage.InputOneofCase.Exit).Exit;

    public ValueTask DisposeAsync() => call.DisposeAsync();
}
