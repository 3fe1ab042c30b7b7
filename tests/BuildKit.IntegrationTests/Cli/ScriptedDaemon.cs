using System.Net.Sockets;
using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Server;
using BuildKit.Protocol.Services;
using Google.Protobuf;
using RpcStatus = BuildKit.Protocol.Rpc.Status;

namespace BuildKit.IntegrationTests.Cli;

/// <summary>A Control service that gives recorded answers and remembers what it was asked.</summary>
internal sealed class ScriptedDaemon : IAsyncDisposable
{
    private readonly TempDirectory _directory = new();
    private readonly GrpcServer _server;
    private readonly JsonElement _script;
    private readonly List<(string Method, IMessage Request)> _requests = [];

    private ScriptedDaemon(JsonElement script)
    {
        _script = script;
        _server = new GrpcServer(
        [
            new GrpcService()
                .Unary(ControlMethods.DiskUsage, (request, _) => AnswerAsync(ControlMethods.DiskUsage, request))
                .Unary(ControlMethods.ListWorkers, (request, _) => AnswerAsync(ControlMethods.ListWorkers, request))
                .Unary(ControlMethods.Info, (request, _) => AnswerAsync(ControlMethods.Info, request))
                .Unary(ControlMethods.UpdateBuildHistory, (request, _) => AnswerAsync(ControlMethods.UpdateBuildHistory, request))
                .Unary(ControlMethods.Solve, (request, _) => AnswerAsync(ControlMethods.Solve, request))
                .Stream(ControlMethods.Prune, stream => StreamAsync(ControlMethods.Prune, stream))
                .Stream(ControlMethods.ListenBuildHistory, stream => StreamAsync(ControlMethods.ListenBuildHistory, stream))
                .Stream(ControlMethods.Status, stream => StreamAsync(ControlMethods.Status, stream))
                .Stream(ControlMethods.Session, async stream =>
                {
                    while (await stream.ReadAsync(stream.CancellationToken) is not null)
                    {
                        // Whatever the session carries is of no interest.
                    }
                }),
        ]);
    }

    internal string Address => $"unix://{_directory.Path}/b.sock";

    /// <summary>Every request of a method the script names, in order.</summary>
    internal IReadOnlyList<(string Method, IMessage Request)> Requests
    {
        get
        {
            lock (_requests)
                return [.. _requests];
        }
    }

    internal static async Task<ScriptedDaemon> StartAsync(JsonElement script)
    {
        var daemon = new ScriptedDaemon(script);
        await daemon._server.StartAsync([new GrpcListener(new UnixDomainSocketEndPoint(daemon._directory.Path + "/b.sock"))], CancellationToken.None);
        return daemon;
    }

    /// <summary>A recorded request as a message.</summary>
    internal static IMessage Parse(string method, string json) => method switch
    {
        "DiskUsage" => Parse(ControlMethods.DiskUsage.RequestParser, json),
        "ListWorkers" => Parse(ControlMethods.ListWorkers.RequestParser, json),
        "Info" => Parse(ControlMethods.Info.RequestParser, json),
        "UpdateBuildHistory" => Parse(ControlMethods.UpdateBuildHistory.RequestParser, json),
        "Prune" => Parse(ControlMethods.Prune.RequestParser, json),
        "ListenBuildHistory" => Parse(ControlMethods.ListenBuildHistory.RequestParser, json),
        _ => throw new InvalidOperationException($"a method this test does not know: {method}"),
    };

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _directory.Dispose();
    }

    private Task<TResponse> AnswerAsync<TRequest, TResponse>(Method<TRequest, TResponse> method, TRequest request)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        Record(method.Name, request);
        return Task.FromResult(Answers(method).FirstOrDefault() ?? method.ResponseParser.ParseFrom(ByteString.Empty));
    }

    private async Task StreamAsync<TRequest, TResponse>(Method<TRequest, TResponse> method, ServerStream<TRequest, TResponse> stream)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        Record(method.Name, (await stream.ReadAsync(stream.CancellationToken))!);
        foreach (var answer in Answers(method))
            await stream.SendAsync(answer, stream.CancellationToken);
    }

    private void Record(string method, IMessage request)
    {
        lock (_requests)
            _requests.Add((method, request));
        if (_script.TryGetProperty("statusBase64", out var status) && method == ControlMethods.Solve.Name)
            throw GrpcStatus.FromStatus(RpcStatus.Parser.ParseFrom(status.GetBytesFromBase64()));
        if (_script.TryGetProperty("error", out var error) && error.GetProperty("method").GetString() == method)
            throw new RpcException((StatusCode)error.GetProperty("code").GetInt32(), error.GetProperty("message").GetString()!);
    }

    private List<TResponse> Answers<TRequest, TResponse>(Method<TRequest, TResponse> method)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse> =>
        _script.TryGetProperty("responses", out var responses) && responses.TryGetProperty(method.Name, out var answers)
            ? [.. answers.EnumerateArray().Select(a => (TResponse)Parse(method.ResponseParser, a.GetRawText()))]
            : [];

    private static IMessage Parse<T>(MessageParser<T> parser, string json)
        where T : class, IMessage<T> => JsonParser.Default.Parse(json, parser.ParseFrom(ByteString.Empty).Descriptor);
}
