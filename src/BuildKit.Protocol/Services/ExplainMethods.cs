using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Services;

/// <summary>Why steps of a build were executed; only this project's daemon has the service (docs/explain-cache.md).</summary>
public static class ExplainMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "buildkit.explain.v1.Explain";

    /// <summary>Request header of <c>Control/Solve</c> that asks for the explanation to be made while the build's results
    /// are at hand; daemons that do not know it ignore it.</summary>
    public const string WantedHeader = "buildkit-explain-cache";

    /// <summary>Request header of <c>Control/Solve</c> that stands for the client's directories: earlier runs for the same ones are nearer
    /// than others.</summary>
    public const string ScopeHeader = "buildkit-explain-scope";

    /// <summary><c>/buildkit.explain.v1.Explain/Explain</c>.</summary>
    public static Method<ExplainRequest, BuildExplanation> Explain { get; } =
        new(MethodKind.Unary, ServiceName, "Explain", ExplainRequest.Parser, BuildExplanation.Parser);
}
