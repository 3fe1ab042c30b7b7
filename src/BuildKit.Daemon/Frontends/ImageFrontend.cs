using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Errors;
using BuildKit.Daemon.Frontends.Images;
using BuildKit.Daemon.Gateway;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Instructions;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Server;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using Microsoft.Extensions.Logging;
using NetworkMode = BuildKit.Worker.Executor.NetworkMode;

namespace BuildKit.Daemon.Frontends;

/// <summary>
/// The frontend <c>gateway.v0</c>: runs the frontend in an image (spec 01 §6.5). One call: (1) the image is allowed,
/// resolved and pinned; (2) it can do what the call needs; (3) its program runs in a container of its own, the daemon's
/// gateway on its standard streams; (4) what it returned counts, unless it failed after all.
/// </summary>
internal sealed class ImageFrontend(
    Build build, BuildServices services, DockerfileClient client, CaptureScope scope, IReadOnlyDictionary<string, string> options,
    IReadOnlyDictionary<string, Definition> inputs, IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies)
{
    private const string SourceOption = "source";
    private const string DevelopmentOption = "gateway-devel";
    private const string NoNetworkLabel = "moby.buildkit.frontend.network.none";

    /// <summary>How long a frontend that has closed its connection may take to end.</summary>
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(2);

    /// <summary>Runs the frontend.</summary>
    /// <exception cref="UnsupportedFrontendCapException">The image cannot do what the call needs.</exception>
    /// <exception cref="RpcException">What the frontend returned as its error.</exception>
    /// <exception cref="ExitException">The frontend's process failed.</exception>
    public async Task<BuildResult> RunAsync(CancellationToken cancellationToken)
    {
        if (!options.TryGetValue(SourceOption, out var source))
            throw new InvalidOperationException("no source specified for gateway");
        CheckAllowed(source);
        if (BuiltInFor(source) is { } features)
            return await SubstituteAsync(source, features, cancellationToken);
        var image = options.ContainsKey(DevelopmentOption)
            ? await FrontendImage.BuildAsync(build, scope, source, options, inputs, imports, policies, cancellationToken)
            : await FrontendImage.LoadAsync(build, scope, client, source, imports, policies, cancellationToken);
        var reference = await image.Tree.EvaluateRefAsync(cancellationToken);
        FrontendAbilities.Check(image, options, inputs.Count > 0);
        if (reference is not null)
            await reference.ExtractAsync(cancellationToken);
        await using var root = await services.Refs.NewAsync(reference, new RefOptions { Description = "frontend " + source }, cancellationToken);
        using var metadata = FrontendMetadata.Write(services.TemporaryDirectory, image.Tree.Definition);
        await using var gateway = new GatewayBuild(build, services, scope) { Inputs = inputs, Imports = imports, Policies = policies };
        using var errors = new FrontendErrors(services.Logging.CreateLogger<ImageFrontend>(), source);
        return await RunAsync(
            gateway,
            stdio => new ContainerProcess
            {
                Args = image.Config.Entrypoint.Count > 0 ? image.Config.Entrypoint : ["/run"],
                Env = FrontendEnvironment.Of(image.Config, options, build.Job.SessionId, services.Worker),
                Cwd = image.Config.WorkingDir.Length > 0 ? image.Config.WorkingDir : "/",
                Stdin = stdio.Input,
                Stdout = stdio.Output.Write,
                Stderr = errors.Write,
            },
            new ContainerPlan(
                await root.MountAsync(readOnly: false, cancellationToken), [metadata.Mount],
                IsTrue(image.Config.Labels.GetValueOrDefault(NoNetworkLabel, "")) ? NetworkMode.None : NetworkMode.Default),
            cancellationToken);
    }

    private async Task<BuildResult> RunAsync(
        GatewayBuild gateway, Func<FrontendStdio, ContainerProcess> process, ContainerPlan plan, CancellationToken cancellationToken)
    {
        using var running = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var serving = new CancellationTokenSource();
        var stdio = new FrontendStdio();
        var server = GrpcServer.ServeAsync(
            stdio, [new GatewayService(new OneGatewayBuild(gateway), services).ToService(), HealthService.Create()],
            new GrpcServerOptions { MapError = ErrorMapper.Map, Time = services.Exec.Time }, serving.Token);
        var container = RunContainerAsync(process(stdio), plan, stdio, running.Token);
        Exception? failure = null;
        var isLost = false;
        try
        {
            await Task.WhenAny(server, container);
            if (!container.IsCompleted && !gateway.Returned.IsCompleted)
            {
                await Task.WhenAny(container, Task.Delay(EndPatience, services.Exec.Time, cancellationToken));
                isLost = !container.IsCompleted && !gateway.Returned.IsCompleted;
                if (isLost)
                    await running.CancelAsync();
            }
            await container;
        }
        catch (Exception exception)
        {
            failure = exception;
        }
        await serving.CancelAsync();
        await server;
        cancellationToken.ThrowIfCancellationRequested();
        // An error it returned says more than how its process ended; a result is none if the process failed.
        if (gateway.Returned.IsFaulted || (gateway.Returned.IsCompleted && failure is null))
            return await gateway.Returned;
        if (isLost)
            throw new InvalidOperationException("frontend grpc server closed unexpectedly");
        if (failure is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        throw new InvalidOperationException("no result for incomplete build");
    }

    private async Task RunContainerAsync(ContainerProcess process, ContainerPlan plan, FrontendStdio stdio, CancellationToken cancellationToken)
    {
        try
        {
            await services.Exec.Executor.RunAsync(
                new ContainerRequest
                {
                    Id = RandomContainerId.New(),
                    Root = plan.Root,
                    Mounts = plan.Mounts,
                    Network = plan.Network,
                    RemoveMountStubsRecursive = true,
                    Process = process,
                },
                cancellationToken);
        }
        finally
        {
            stdio.ProcessEnded();
        }
    }

    private void CheckAllowed(string source)
    {
        var allowed = services.Gateway.AllowedRepositories;
        if (allowed.Count > 0 && !allowed.Contains(ImageReference.Parse(source).Name, StringComparer.Ordinal))
            throw new InvalidOperationException($"'{source}' is not an allowed gateway source");
    }

    /// <summary>What the built-in frontend must offer to stand in for an image; null when it is another frontend's image,
    /// or somebody asked for the image itself.</summary>
    private DockerfileFeatures? BuiltInFor(string source)
    {
        if (!services.Gateway.SubstituteDockerfile || !services.DockerfileFrontend || options.ContainsKey(DevelopmentOption))
            return null;
        if (!ImageReference.TryParse(source, out var reference))
            return null;
        if (reference.Name is not ("docker.io/docker/dockerfile" or "docker.io/docker/dockerfile-upstream" or "docker.io/moby/dockerfile"))
            return null;
        if (options.Keys.Any(key => key.StartsWith("context:", StringComparison.Ordinal) && key["context:".Length..].Split("::")[0] == Shortest(reference)))
            return null;
        return reference.Tag.EndsWith("labs", StringComparison.Ordinal) ? DockerfileFeatures.Labs : DockerfileFeatures.Mainline;
    }

    private static string Shortest(ImageReference reference) => reference.Tag is "latest" ? reference.FamiliarName : reference.Familiar;

    /// <summary>An image of the reference's own Dockerfile frontend: what is built in does the same, without fetching it.</summary>
    private async Task<BuildResult> SubstituteAsync(string source, DockerfileFeatures features, CancellationToken cancellationToken)
    {
        await build.Job.InContextAsync(
            $"[internal] built-in Dockerfile frontend in place of {source}", (_, _) => Task.FromResult(true), cancellationToken);
        return client.ToBuildResult(await new DockerfileFrontend(features).BuildAsync(client, cancellationToken));
    }

    private static bool IsTrue(string label) => label is "1" or "t" or "T" or "true" or "TRUE" or "True";

    private sealed record ContainerPlan(IMountable Root, IReadOnlyList<ContainerMount> Mounts, NetworkMode Network);
}
