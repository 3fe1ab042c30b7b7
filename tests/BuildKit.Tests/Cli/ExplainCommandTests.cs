using System.Text;
using BuildKit.Cli;
using BuildKit.Cli.Commands;
using BuildKit.Cli.Progress;
using BuildKit.Cli.Text;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Tests.Cli;

/// <summary>The end of a build with <c>--explain-cache</c>, by what the daemon answers.</summary>
public sealed class ExplainCommandTests
{
    [Fact]
    public async Task A_daemon_that_cannot_explain_is_named_and_fails_nothing()
    {
        var output = await AfterBuildAsync(new RpcException(StatusCode.Unimplemented, "unknown service buildkit.explain.v1.Explain"), "plain");
        Assert.Contains("this daemon cannot explain why steps were executed; buildkitd of this project can", output, StringComparison.Ordinal);
        Assert.DoesNotContain("Why steps", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_failed_explanation_is_told_and_fails_nothing() =>
        Assert.Contains("the build could not be explained: NotFound: build b is not remembered", await AfterBuildAsync(new RpcException(StatusCode.NotFound, "build b is not remembered"), "plain"), StringComparison.Ordinal);

    [Theory]
    [InlineData("plain", "\nWhy steps were executed:\nRUN make\n   ran because it was never built here\n")]
    [InlineData("quiet", "\nWhy steps were executed:\nRUN make\n   ran because it was never built here\n")]
    [InlineData("rawjson", "{\"ref\":\"b\",\"explanations\":[{\"vertex\":\"sha256:1\",\"name\":\"RUN make\",\"kind\":\"exec\",\"cause\":\"never\",\"text\":\"ran because it was never built here\"}]}\n")]
    public async Task The_answer_is_written_in_the_form_of_the_progress(string mode, string expected)
    {
        var explanation = new BuildExplanation { Ref = "b", Steps = { new StepExplanation { Vertex = "sha256:1", Name = "RUN make", Kind = "exec", Cause = "never" } } };
        Assert.Equal(expected, await AfterBuildAsync(explanation, mode));
    }

    private static async Task<string> AfterBuildAsync(object answer, string mode)
    {
        var errors = new MemoryStream();
        var context = new CommandContext
        {
            OpenInput = () => Stream.Null,
            Output = Stream.Null,
            ErrorOutput = errors,
            IsTerminal = _ => false,
            Variable = _ => null,
            Time = TimeProvider.System,
            Log = new Log(errors, false, TimeProvider.System),
        };
        var display = Displays.Create(mode, errors, 2, new DisplayOptions(), TimeProvider.System);
        await using var channel = new Answering(answer);
        await ExplainCommand.AfterBuildAsync(context, channel, "b", display, default);
        return Encoding.UTF8.GetString(errors.ToArray());
    }

    private sealed class Answering(object answer) : IGrpcChannel
    {
        public Task Closed => Task.CompletedTask;

        public Task<TResponse> UnaryAsync<TRequest, TResponse>(Method<TRequest, TResponse> method, TRequest request, CallOptions options, CancellationToken cancellationToken)
            where TRequest : class, Google.Protobuf.IMessage<TRequest>
            where TResponse : class, Google.Protobuf.IMessage<TResponse>
        {
            Assert.Equal("/buildkit.explain.v1.Explain/Explain", method.FullName);
            Assert.Equal("b", ((ExplainRequest)(object)request).Ref);
            return answer is Exception error ? Task.FromException<TResponse>(error) : Task.FromResult((TResponse)answer);
        }

        public IGrpcCall<TRequest, TResponse> Open<TRequest, TResponse>(Method<TRequest, TResponse> method, CallOptions options, CancellationToken cancellationToken)
            where TRequest : class, Google.Protobuf.IMessage<TRequest>
            where TResponse : class, Google.Protobuf.IMessage<TResponse> => throw new InvalidOperationException(method.FullName);

        public ValueTask DisposeAsync() => default;
    }
}
