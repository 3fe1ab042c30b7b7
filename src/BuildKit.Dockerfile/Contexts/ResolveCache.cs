using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>Asks the daemon each question about an image once per call, failures included (spec 05 §1).</summary>
internal sealed class ResolveCache(IFrontendClient client) : IFrontendClient
{
    private readonly ConcurrentDictionary<(string, ImageConfigQuery), Lazy<Task<FrontendImageConfig>>> _answers = new();
    private readonly CancellationTokenSource _lifetime = new();

    public FrontendBuildOptions Options => client.Options;

    public Task<FrontendResult> SolveAsync(FrontendSolveRequest request, CancellationToken cancellationToken) => client.SolveAsync(request, cancellationToken);

    public Task<FrontendImageConfig> ResolveImageConfigAsync(string reference, ImageConfigQuery query, CancellationToken cancellationToken) =>
        // Shared by several stages: one that gives up must not take the answer from the others.
        _answers.GetOrAdd((reference, query), _ => new Lazy<Task<FrontendImageConfig>>(() => client.ResolveImageConfigAsync(reference, query, _lifetime.Token)))
            .Value.WaitAsync(cancellationToken);

    public Task<FrontendImageConfig> ResolveSourceMetadataAsync(string identifier, ImageConfigQuery query, CancellationToken cancellationToken) =>
        client.ResolveSourceMetadataAsync(identifier, query, cancellationToken);

    public Task<IReadOnlyDictionary<string, Definition>> GetInputsAsync(CancellationToken cancellationToken) => client.GetInputsAsync(cancellationToken);

    public Task WarnAsync(Digest vertex, FrontendWarning warning, CancellationToken cancellationToken) => client.WarnAsync(vertex, warning, cancellationToken);

    /// <summary>Ends questions nobody waits for.</summary>
    public Task CancelAsync() => _lifetime.CancelAsync();
}
