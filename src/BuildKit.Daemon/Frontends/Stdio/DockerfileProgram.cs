using BuildKit.Daemon.Errors;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Services;

namespace BuildKit.Daemon.Frontends.Stdio;

/// <summary>
/// <c>buildkitd dockerfile-frontend</c>: the built-in Dockerfile frontend as the program of a frontend image. It is told
/// what to do in its environment and reaches the daemon on its standard streams (spec 01 §6.5).
/// </summary>
internal static class DockerfileProgram
{
    /// <summary>First argument of <c>buildkitd</c> that chooses this program.</summary>
    public const string Command = "dockerfile-frontend";

    private const string LabsFlag = "--labs";

    /// <summary>Runs the frontend once; returns the exit code. Errors of the build are returned to the daemon and are none
    /// of the program.</summary>
    public static async Task<int> RunAsync(string[] arguments, CancellationToken cancellationToken)
    {
        if (arguments is not ([] or [LabsFlag]))
        {
            Console.Error.WriteLine($"buildkitd {Command}: the only argument is {LabsFlag}; the frontend's options come from its environment");
            return 1;
        }
        var environment = FrontendCall.FromEnvironment();
        if (environment is null)
        {
            Console.Error.WriteLine($"buildkitd {Command}: this is the program of a frontend image, started by a build daemon; see docs/frontends.md");
            return 1;
        }
        await using var connection = Http2Connection.Start(new StandardStreams());
        try
        {
            var client = await GatewayClient.ConnectAsync(connection, environment, cancellationToken);
            var request = await BuildAsync(client, arguments.Length > 0 ? DockerfileFeatures.Labs : DockerfileFeatures.Mainline, cancellationToken);
            await connection.UnaryAsync(LLBBridgeMethods.Return, request, default, cancellationToken);
            return 0;
        }
        catch (RpcException exception)
        {
            Console.Error.WriteLine($"buildkitd {Command}: {exception.Message}");
            return 1;
        }
    }

    private static async Task<ReturnRequest> BuildAsync(GatewayClient client, DockerfileFeatures features, CancellationToken cancellationToken)
    {
        try
        {
            return new ReturnRequest { Result = GatewayClient.ToMessage(await new DockerfileFrontend(features).BuildAsync(client, cancellationToken)) };
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            var error = ErrorMapper.Map(exception);
            return new ReturnRequest { Error = new Protocol.Rpc.Status { Code = (int)error.Code, Message = error.Message, Details = { error.Details } } };
        }
    }
}
